//! Which address a machine gets: one of its network's that it keeps, also when it is rebooted or the Engine is.
//!
//! Left to themselves, Engines give an address anew with every start, and another one if that pleases them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{ContainerSummary, NetworkInspect};
use sha2::{Digest, Sha256};

use super::labels;
use super::properties::{ADDRESS, kind_of};
use crate::OperationId;

/// How many addresses are looked at; a network that is so full has none left as good as ever.
const LOOKS_MAX: u32 = 65_536;
/// The smallest network with addresses to choose from.
const PREFIX_MAX: u8 = 29;

/// The first and last address of a network that machines may get. `None` if the network says nothing of IPv4 addresses.
fn range(network: &NetworkInspect) -> Option<(u32, u32)> {
    let configs = network.ipam.as_ref()?.config.iter().flatten();
    let parse = |text: &Option<String>| block(text.as_deref()?);
    configs
        .filter_map(|config| {
            let (subnet, prefix) = parse(&config.subnet)?;
            let (low, high) = bounds(subnet, prefix);
            // What the Engine itself is to give out, where that was said.
            let (from, to) = parse(&config.ip_range)
                .map_or((low, high), |(start, prefix)| bounds(start, prefix));
            Some((from.max(low + 1), to.min(high - 1)))
        })
        .find(|(from, to)| from <= to)
}

fn block(text: &str) -> Option<(u32, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= PREFIX_MAX)?;
    Some((address.parse::<Ipv4Addr>().ok()?.to_bits(), prefix))
}

fn bounds(address: u32, prefix: u8) -> (u32, u32) {
    let host = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    (address & !host, address | host)
}

/// An address that nobody has, as far as the Engine knows; the same for the same operation if nobody else comes between.
pub(super) fn choose(
    network: &NetworkInspect,
    containers: &[ContainerSummary],
    op: &OperationId,
) -> Option<IpAddr> {
    let (from, to) = range(network)?;
    let taken = taken(network, containers);
    let hash = Sha256::digest(op.as_str());
    let start = hash
        .iter()
        .take(4)
        .fold(0, |number, byte| number << 8 | u32::from(*byte));
    let count = (to - from).saturating_add(1);
    (0..count.min(LOOKS_MAX))
        .map(|step| (u64::from(start) + u64::from(step)) % u64::from(count))
        .map(|offset| from.saturating_add(u32::try_from(offset).unwrap_or(0)))
        .map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)))
        .find(|address| !taken.contains(address))
}

/// The addresses of all that runs on the network, of all machines of ours, and of the network itself.
fn taken(network: &NetworkInspect, containers: &[ContainerSummary]) -> BTreeSet<IpAddr> {
    let mut texts: Vec<&str> = Vec::new();
    let running = network.containers.iter().flatten();
    texts.extend(running.filter_map(|(_, endpoint)| endpoint.ipv4_address.as_deref()));
    for config in network
        .ipam
        .iter()
        .flat_map(|ipam| ipam.config.iter().flatten())
    {
        texts.extend(config.gateway.as_deref());
        texts.extend(
            config
                .auxiliary_addresses
                .iter()
                .flatten()
                .map(|(_, address)| address.as_str()),
        );
    }
    let mut taken: BTreeSet<IpAddr> = texts.into_iter().filter_map(parse).collect();
    for container in containers {
        let written = container.labels.as_ref().map(labels::read);
        if let Some(Ok(labels)) = written {
            let fixed = labels
                .attachments
                .iter()
                .filter(|one| kind_of(one) == ADDRESS);
            taken.extend(fixed.filter_map(|one| parse(&one.id)));
            taken.extend(labels.address);
        }
        let settings = container.network_settings.as_ref();
        let networks = settings.and_then(|settings| settings.networks.as_ref());
        for endpoint in networks.into_iter().flat_map(|networks| networks.values()) {
            taken.extend(endpoint.ip_address.as_deref().and_then(parse));
            let fixed = endpoint.ipam_config.as_ref();
            taken.extend(fixed.and_then(|fixed| parse(fixed.ipv4_address.as_deref()?)));
        }
    }
    taken
}

/// An address, with or without the length of its network's prefix.
fn parse(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{EndpointResource, Ipam, IpamConfig};
    use proptest::prelude::*;

    use super::*;

    fn network(subnet: &str, ip_range: Option<&str>, used: &[&str]) -> NetworkInspect {
        let config = IpamConfig {
            subnet: Some(subnet.into()),
            ip_range: ip_range.map(str::to_owned),
            gateway: Some("10.0.0.1".into()),
            ..IpamConfig::default()
        };
        let endpoint = |address: &&str| EndpointResource {
            ipv4_address: Some(format!("{address}/24")),
            ..EndpointResource::default()
        };
        let containers: HashMap<_, _> = used
            .iter()
            .map(|one| ((*one).to_owned(), endpoint(one)))
            .collect();
        NetworkInspect {
            ipam: Some(Ipam {
                config: Some(vec![config]),
                ..Ipam::default()
            }),
            containers: Some(containers),
            ..NetworkInspect::default()
        }
    }

    fn op(member: &str) -> OperationId {
        OperationId::derive("c", "g", member, 1, "provision")
    }

    #[test]
    fn every_address_is_given_once_and_none_that_is_no_machines() {
        let mut used: Vec<String> = Vec::new();
        loop {
            let names: Vec<_> = used.iter().map(String::as_str).collect();
            let network = network("10.0.0.0/29", None, &names);
            let Some(address) = choose(&network, &[], &op(&used.len().to_string())) else {
                break;
            };
            used.push(address.to_string());
        }
        used.sort();
        let all: Vec<_> = (2..=6).map(|last| format!("10.0.0.{last}")).collect();
        assert_eq!(used, all);
    }

    #[test]
    fn the_engines_own_range_is_kept_to() {
        for member in ["a", "b", "c", "d"] {
            let network = network("10.0.0.0/24", Some("10.0.0.64/28"), &[]);
            let address = choose(&network, &[], &op(member)).expect("one is free");
            let range: Vec<IpAddr> = (64..80).map(|last| [10, 0, 0, last].into()).collect();
            assert!(range.contains(&address), "{address}");
            assert_eq!(choose(&network, &[], &op(member)), Some(address));
        }
    }

    proptest! {
        #[test]
        fn no_network_panics(subnet in "[0-9.]{0,16}/[0-9]{0,3}|.*", range in proptest::option::of("[0-9.]{7,15}/[0-9]{1,2}")) {
            let _ = choose(&network(&subnet, range.as_deref(), &["x"]), &[], &op("a"));
        }

        #[test]
        fn all_of_any_block_are_within_it(bits in any::<u32>(), prefix in 0u8..=29) {
            let subnet = format!("{}/{prefix}", Ipv4Addr::from_bits(bits));
            if let Some(IpAddr::V4(address)) = choose(&network(&subnet, None, &[]), &[], &op("a")) {
                let (low, high) = bounds(bits, prefix);
                prop_assert!(low < address.to_bits() && address.to_bits() < high);
            }
        }
    }
}
