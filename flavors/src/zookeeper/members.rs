//! ZooKeeper's list of servers.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// More lines than any ensemble has.
const LINES_MAX: usize = 255;

/// The servers by number, each with its line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Members(BTreeMap<u8, String>);

impl Members {
    /// Reads the lines `server.ID=…` of any text, such as the answer to `conf`. Others are passed over.
    pub(super) fn read(text: &str) -> Self {
        let server = |line: &str| {
            let (id, rest) = line.trim().strip_prefix("server.")?.split_once('=')?;
            let id = id.parse().ok()?;
            let is_clean = rest.bytes().all(|byte| byte.is_ascii_graphic());
            is_clean.then(|| (id, format!("server.{id}={rest}")))
        };
        Self(text.lines().filter_map(server).take(LINES_MAX).collect())
    }

    /// Whether a server is on it.
    pub(super) fn has(&self, id: u8) -> bool {
        self.0.contains_key(&id)
    }

    /// The number of the server at a host.
    pub(super) fn at(&self, host: &str) -> Option<u8> {
        let mut servers = self.0.iter();
        let found = servers.find(|(_, line)| is_same(host_of(line), host));
        found.map(|(id, _)| *id)
    }

    /// Whether a server has a vote.
    pub(super) fn votes(&self, id: u8) -> bool {
        self.0.get(&id).is_some_and(|line| !is_observer(line))
    }

    /// How many have a vote.
    pub(super) fn voters(&self) -> usize {
        self.0.values().filter(|line| !is_observer(line)).count()
    }

    /// The lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }
}

/// The host that a line names first, without brackets.
fn host_of(line: &str) -> &str {
    let rest = line.split_once('=').map_or("", |(_, rest)| rest);
    match rest.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => rest.split(':').next().unwrap_or_default(),
    }
}

/// Whether two hosts are the same: ZooKeeper writes an IPv6 address its own way.
fn is_same(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn is_observer(line: &str) -> bool {
    line.split(';')
        .next()
        .is_some_and(|servers| servers.ends_with(":observer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_among_other_lines() {
        let text = "clientPort=2181\nserver.1=a:2888:3888:participant;a:2181\n\
                    server.2=b:2888:3888:observer;b:2181\nserver.x=1\nserver.300=z\nserver.3\n";
        let members = Members::read(text);
        assert!(members.has(1) && members.has(2) && !members.has(3));
        assert!(members.votes(1) && !members.votes(2));
        assert_eq!((members.voters(), members.lines().count()), (1, 2));
        assert_eq!(Members::read(""), Members::default());
    }

    #[test]
    fn servers_are_found_by_their_hosts() {
        let text = "server.1=zk-1.example:1:2:participant;zk-2.example:3\n\
                    server.2=[fd00:0:0:0:0:0:0:2]:1:2:participant;3\nserver.3=10.0.0.1:1:2:observer;3";
        let members = Members::read(text);
        let found = [
            "ZK-1.example",
            "fd00::2",
            "10.0.0.1",
            "zk-2.example",
            "10.0.0.10",
        ];
        assert_eq!(
            found.map(|host| members.at(host)),
            [Some(1), Some(2), Some(3), None, None]
        );
    }
}
