//! Loopback addresses: which network a fleet has, and which address is free.
//!
//! Every address of 127.0.0.0/8 belongs to this computer without any configuration, so each machine gets one of
//! its own and all can use the same port.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Fleets take 127.64.0.0 to 127.191.255.255: 127.0.0.0/16 has `localhost` and Debian's own host name in it.
const SECOND_OCTET_FIRST: u8 = 64;
const SECOND_OCTETS: u8 = 128;
/// How many networks are tried before one that is in use is taken all the same.
const CANDIDATES: u32 = 64;

/// A part of 127.0.0.0/8, such as `127.83.201.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Network {
    base: u32,
    prefix: u8,
}

impl Network {
    const PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;

    /// Which network the fleet under this root should have: the same for the same root, and another one than
    /// most other roots'.
    pub(super) fn for_root(root: &Path) -> Self {
        let taken = addresses_in_use().unwrap_or_default();
        Self::choose(root, &taken)
    }

    fn choose(root: &Path, taken: &BTreeSet<Ipv4Addr>) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let candidate = |attempt: u32| {
            let mut hash = Sha256::new();
            hash.update(root.as_os_str().as_bytes());
            hash.update(attempt.to_be_bytes());
            let digest = hash.finalize();
            let second = SECOND_OCTET_FIRST + digest[0] % SECOND_OCTETS;
            Self {
                base: u32::from(Ipv4Addr::new(127, second, digest[1], 0)),
                prefix: 24,
            }
        };
        (0..CANDIDATES)
            .map(candidate)
            .find(|network| !taken.iter().any(|address| network.contains(*address)))
            .unwrap_or_else(|| candidate(0))
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        (u32::from(address) ^ self.base) >> (32 - self.prefix) == 0
    }

    /// How many machines fit into it: all addresses but the first and the last, as in any network.
    pub(super) fn capacity(self) -> u32 {
        (1u32 << (32 - self.prefix)) - 2
    }

    /// The machines' addresses, beginning after the first `skip` and going round.
    pub(super) fn addresses(self, skip: u32) -> impl Iterator<Item = (u32, Ipv4Addr)> {
        let capacity = self.capacity();
        (0..capacity).map(move |step| {
            let index = (skip % capacity + step) % capacity;
            (index, Ipv4Addr::from(self.base + 1 + index))
        })
    }
}

/// A text that is no part of the loopback network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no part of the loopback network: expected something like 127.83.201.0/24, /8 to /30"
)]
pub(super) struct ParseNetworkError(String);

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (base, prefix) = text.split_once('/')?;
            let base: Ipv4Addr = base.parse().ok()?;
            let prefix: u8 = prefix
                .parse()
                .ok()
                .filter(|prefix| Self::PREFIXES.contains(prefix))?;
            let network = Self {
                base: u32::from(base),
                prefix,
            };
            let whole = network.base & (u32::MAX >> prefix) == 0;
            (base.is_loopback() && whole).then_some(network)
        };
        parse().ok_or_else(|| ParseNetworkError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = ParseNetworkError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// Whether nobody listens there at this moment.
pub(super) fn is_free(address: SocketAddr) -> io::Result<bool> {
    match UdpSocket::bind(address) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

/// All local addresses that some socket of this computer is bound to.
fn addresses_in_use() -> io::Result<BTreeSet<Ipv4Addr>> {
    let mut all = BTreeSet::new();
    for table in ["udp", "tcp"] {
        let text = fs::read_to_string(format!("/proc/net/{table}"))?;
        all.extend(text.lines().skip(1).filter_map(local_address));
    }
    Ok(all)
}

/// The local address of a line of `/proc/net/udp`: four bytes in the order of the memory, in hexadecimal.
fn local_address(line: &str) -> Option<Ipv4Addr> {
    let (address, _) = line.split_ascii_whitespace().nth(1)?.split_once(':')?;
    let bytes = u32::from_str_radix(address, 16).ok()?;
    Some(Ipv4Addr::from(bytes.to_ne_bytes()))
}

/// The first address that no instance has and where nobody listens, and where to look next time. Addresses are
/// used again as late as possible: a machine's old peers may still know it by its address.
pub(super) fn allocate(
    network: Network,
    port: u16,
    skip: u32,
    used: &BTreeSet<IpAddr>,
) -> io::Result<Option<(SocketAddr, u32)>> {
    for (index, address) in network.addresses(skip) {
        let address = SocketAddr::from((address, port));
        if !used.contains(&address.ip()) && is_free(address)? {
            return Ok(Some((address, index + 1)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("valid")
    }

    #[test]
    fn addresses_go_round() {
        let all = |skip| -> Vec<String> {
            network("127.9.0.4/30")
                .addresses(skip)
                .map(|(_, ip)| ip.to_string())
                .collect()
        };
        assert_eq!(all(0), ["127.9.0.5", "127.9.0.6"]);
        assert_eq!(all(1), ["127.9.0.6", "127.9.0.5"]);
        assert_eq!(all(2), ["127.9.0.5", "127.9.0.6"]);
        assert_eq!(network("127.0.0.0/8").capacity(), (1 << 24) - 2);
    }

    #[test]
    fn an_address_in_use_is_left_out() {
        let network = network("127.64.200.4/30");
        let (first, skip) = allocate(network, 0, 0, &BTreeSet::new())
            .expect("no error")
            .expect("one is free");
        assert_eq!((first.ip().to_string().as_str(), skip), ("127.64.200.5", 1));
        let used = BTreeSet::from([first.ip()]);
        let (second, _) = allocate(network, 0, 0, &used)
            .expect("no error")
            .expect("one is free");
        assert_eq!(second.ip().to_string(), "127.64.200.6");

        let socket = UdpSocket::bind("127.64.200.6:0").expect("bound");
        let port = socket.local_addr().expect("bound").port();
        assert_eq!(allocate(network, port, 0, &used).expect("no error"), None);
        assert!(
            addresses_in_use()
                .expect("readable")
                .contains(&Ipv4Addr::new(127, 64, 200, 6))
        );
    }

    #[test]
    fn a_network_in_use_is_left_out() {
        let root = Path::new("/some/root");
        let first = Network::choose(root, &BTreeSet::new());
        assert_eq!(first, Network::choose(root, &BTreeSet::new()));
        let taken = BTreeSet::from([Ipv4Addr::from(first.base + 7)]);
        assert_ne!(Network::choose(root, &taken), first);
        assert_ne!(
            Network::choose(Path::new("/other/root"), &BTreeSet::new()),
            first
        );
    }

    #[test]
    fn only_parts_of_the_loopback_network_are_accepted() {
        for rubbish in [
            "",
            "127.0.0.0",
            "10.0.0.0/24",
            "127.0.0.1/24",
            "127.0.0.0/31",
            "126.0.0.0/7",
            "::1/128",
        ] {
            assert!(rubbish.parse::<Network>().is_err(), "{rubbish}");
        }
    }

    proptest! {
        #[test]
        fn every_network_survives_its_text(second: u8, third: u8, prefix in 8u8..=30) {
            let base = u32::from(Ipv4Addr::new(127, second, third, 0)) & !(u32::MAX >> prefix);
            let network = Network { base, prefix };
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            prop_assert!(network.addresses(5).take(10).all(|(_, ip)| network.contains(ip)));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Network>();
            let _ = local_address(&text);
        }
    }
}
