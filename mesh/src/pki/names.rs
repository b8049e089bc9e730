//! The names in certificates: how they are written, and the one way they are read.
//!
//! | certificate | DNS name | URI |
//! |---|---|---|
//! | cluster CA | | `spiffe://<cluster-id>` |
//! | machine | `<machine-id>.<cluster-id>.mesh.invalid` | `spiffe://<cluster-id>/machine/<machine-id>` |
//! | operator | | `spiffe://<cluster-id>/operator/<name>` |
//!
//! The CA signs only these forms, and a certificate with any other set of names is refused: what two readers
//! could understand differently is not understood at all.

use rcgen::SanType;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::identity::{ClusterId, MachineId};

/// Longest operator name, in bytes: it goes into every certificate and event.
const OPERATOR_NAME_MAX: usize = 64;

/// Whom a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A member of the mesh.
    Machine(MachineId),
    /// A person or program that gives orders from outside.
    Operator(String),
}

/// What a certificate says, once its names have been read. Says nothing of whether it is genuine:
/// that is [`super::ClusterTrust`]'s to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafIdentity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Whom it is for.
    pub subject: Subject,
    /// Start of its validity, milliseconds since 1970.
    pub not_before_ms: u64,
    /// End of its validity, milliseconds since 1970.
    pub not_after_ms: u64,
}

/// Why the names of a certificate (or an operator's name) are not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The bytes are not an X.509 certificate.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// It has other names than exactly those of one machine, one operator or one cluster.
    #[error("its names are not those of a machine, an operator or a cluster of muster")]
    ForeignNames,
    /// An operator's name that could be mistaken in a path, a log or a shell.
    #[error(
        "`{0}` is no operator name: 1 to 64 of a-z, 0-9, `.`, `_`, `-`, starting with a letter or digit"
    )]
    BadOperatorName(String),
}

/// The DNS name that a machine's certificate carries and that its peers ask for when they dial.
///
/// `.invalid` (RFC 6761) never resolves, so the name can only ever mean this.
pub fn machine_server_name(machine: MachineId, cluster: ClusterId) -> String {
    format!("{machine}.{cluster}.mesh.invalid")
}

/// Accepts names like `alice`, `ci-2`, `ops.berlin`.
///
/// # Errors
/// [`NameError::BadOperatorName`] for anything else.
pub fn check_operator_name(name: &str) -> Result<(), NameError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = name.len() <= OPERATOR_NAME_MAX
        && name.bytes().next().is_some_and(plain)
        && name
            .bytes()
            .all(|byte| plain(byte) || b"._-".contains(&byte));
    if well_formed {
        Ok(())
    } else {
        Err(NameError::BadOperatorName(name.chars().take(80).collect()))
    }
}

impl LeafIdentity {
    /// Reads a machine's or an operator's certificate.
    ///
    /// # Errors
    /// When it is not one, or its names are not exactly those that the CA would have written.
    pub fn read(der: &[u8]) -> Result<Self, NameError> {
        let certificate = parse(der)?;
        let (dns, uris) = alternative_names(&certificate)?;
        let [uri] = uris.as_slice() else {
            return Err(NameError::ForeignNames);
        };
        let (cluster, path) = split_uri(uri).ok_or(NameError::ForeignNames)?;
        let subject = match path.split_once('/') {
            Some(("machine", id)) => {
                let machine: MachineId = id.parse().map_err(|_| NameError::ForeignNames)?;
                if dns != [machine_server_name(machine, cluster)] || id != machine.to_string() {
                    return Err(NameError::ForeignNames);
                }
                Subject::Machine(machine)
            }
            Some(("operator", name)) if dns.is_empty() => {
                check_operator_name(name)?;
                Subject::Operator(name.to_owned())
            }
            _ => return Err(NameError::ForeignNames),
        };
        Ok(Self {
            cluster,
            subject,
            not_before_ms: to_ms(certificate.validity().not_before.timestamp()),
            not_after_ms: to_ms(certificate.validity().not_after.timestamp()),
        })
    }

    /// The machine that the certificate is for; `None` for an operator.
    pub fn machine(&self) -> Option<MachineId> {
        match self.subject {
            Subject::Machine(machine) => Some(machine),
            Subject::Operator(_) => None,
        }
    }
}

/// Reads the cluster out of a CA certificate.
pub(super) fn read_ca_cluster(der: &[u8]) -> Result<ClusterId, NameError> {
    let certificate = parse(der)?;
    let (dns, uris) = alternative_names(&certificate)?;
    match (dns.as_slice(), uris.as_slice()) {
        ([], [uri]) => match split_uri(uri) {
            Some((cluster, "")) => Ok(cluster),
            _ => Err(NameError::ForeignNames),
        },
        _ => Err(NameError::ForeignNames),
    }
}

/// The public key of a certificate as an uncompressed point, for checking signatures.
pub(super) fn public_key(der: &[u8]) -> Result<Vec<u8>, NameError> {
    let certificate = parse(der)?;
    Ok(certificate
        .public_key()
        .subject_public_key
        .data
        .clone()
        .into_owned())
}

pub(super) fn ca_names(cluster: ClusterId) -> Vec<SanType> {
    vec![uri(format!("spiffe://{cluster}"))]
}

pub(super) fn machine_names(machine: MachineId, cluster: ClusterId) -> Vec<SanType> {
    let dns = machine_server_name(machine, cluster)
        .try_into()
        .expect("hexadecimal digits and dots are ASCII");
    vec![
        SanType::DnsName(dns),
        uri(format!("spiffe://{cluster}/machine/{machine}")),
    ]
}

pub(super) fn operator_names(name: &str, cluster: ClusterId) -> Result<Vec<SanType>, NameError> {
    check_operator_name(name)?;
    Ok(vec![uri(format!("spiffe://{cluster}/operator/{name}"))])
}

fn uri(text: String) -> SanType {
    SanType::URI(
        text.try_into()
            .expect("identifiers and checked operator names are ASCII"),
    )
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, NameError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(NameError::NotACertificate),
    }
}

fn alternative_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<(Vec<&'a str>, Vec<&'a str>), NameError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| NameError::NotACertificate)?
        .ok_or(NameError::ForeignNames)?;
    let (mut dns, mut uris) = (Vec::new(), Vec::new());
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => dns.push(*name),
            GeneralName::URI(name) => uris.push(*name),
            _ => return Err(NameError::ForeignNames),
        }
    }
    Ok((dns, uris))
}

/// `spiffe://<cluster>/<path>` into cluster and path; the identifier must be in its one text form.
fn split_uri(uri: &str) -> Option<(ClusterId, &str)> {
    let rest = uri.strip_prefix("spiffe://")?;
    let (domain, path) = match rest.split_once('/') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (rest, ""),
    };
    let cluster: ClusterId = domain.parse().ok()?;
    (cluster.to_string() == domain).then_some((cluster, path))
}

fn to_ms(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_names_are_plain() {
        for good in ["a", "alice", "ci-2", "ops.berlin", "7of9"] {
            check_operator_name(good).unwrap();
        }
        for bad in ["", "-a", ".", "Alice", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(check_operator_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_one_text_form_of_a_uri_is_read() {
        let cluster = ClusterId::new(0xc1).unwrap();
        assert_eq!(
            split_uri("spiffe://00000000000000c1/machine/x"),
            Some((cluster, "machine/x"))
        );
        assert_eq!(split_uri("spiffe://00000000000000c1"), Some((cluster, "")));
        for foreign in [
            "spiffe://00000000000000C1",
            "spiffe://00000000000000c1/",
            "spiffe://c1",
            "https://00000000000000c1",
            "spiffe:00000000000000c1",
            "",
        ] {
            assert_eq!(split_uri(foreign), None, "{foreign}");
        }
    }
}
