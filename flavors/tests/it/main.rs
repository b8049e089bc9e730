//! The flavors that know a server, against that server.

mod ensemble;
mod etcd;
mod zookeeper;
