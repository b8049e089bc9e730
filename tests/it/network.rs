//! Scenarios over real processes in a network whose packets can be dropped: they need root and iptables.

mod loss;
mod partition;
