
mod backends;
mod fleet;
mod network;
mod rules;
