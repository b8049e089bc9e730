//! The CA, its leaves, envelopes and sealing, together.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::identity::{ClusterId, MachineId};

const NOW_MS: u64 = 1_900_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn cluster(number: u64) -> ClusterId {
    ClusterId::new(number).unwrap()
}

fn machine(number: u64) -> MachineId {
    MachineId::new(number).unwrap()
}

fn ca() -> ClusterCa {
    ClusterCa::create(cluster(0xc1), NOW_MS).unwrap()
}

fn credentials(ca: &ClusterCa, number: u64, now_ms: u64) -> Credentials {
    let key = LeafKey::generate().unwrap();
    let leaf = ca
        .sign_machine(&key.request().unwrap(), machine(number), now_ms)
        .unwrap();
    Credentials::assemble(&key, leaf, ca.certificate().to_vec(), now_ms).unwrap()
}

#[test]
fn a_leaf_says_who_it_is_and_for_how_long() {
    let ca = ca();
    let leaf = credentials(&ca, 7, NOW_MS);
    let trust = ClusterTrust::new(ca.certificate()).unwrap();
    for read in [
        trust.verify(leaf.certificate(), NOW_MS).unwrap(),
        trust.verify_listener(leaf.certificate(), NOW_MS).unwrap(),
    ] {
        assert_eq!(read.cluster, cluster(0xc1));
        assert_eq!(read.machine(), Some(machine(7)));
        assert_eq!(read.not_after_ms, NOW_MS + 24 * HOUR_MS);
        assert_eq!(read.not_before_ms, NOW_MS - HOUR_MS / 12);
    }
}

#[test]
fn names_in_a_request_are_ignored() {
    let ca = ca();
    let key = KeyPair::generate().unwrap();
    let mut wish =
        CertificateParams::new(vec![machine_server_name(machine(1), cluster(0xc1))]).unwrap();
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let request = wish.serialize_request(&key).unwrap();
    let leaf = ca.sign_machine(request.der(), machine(2), NOW_MS).unwrap();
    let read = ClusterTrust::new(ca.certificate())
        .unwrap()
        .verify(&leaf, NOW_MS)
        .unwrap();
    assert_eq!(read.machine(), Some(machine(2)));
}

#[test]
fn requests_without_proof_or_with_other_keys_are_refused() {
    let ca = ca();
    let good = LeafKey::generate().unwrap().request().unwrap();
    let mut forged = good.clone();
    let last = forged.len() - 5;
    forged[last] ^= 1;
    assert!(matches!(
        ca.sign_machine(&forged, machine(1), NOW_MS),
        Err(IssueError::BadRequest(_))
    ));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let other = CertificateParams::default()
        .serialize_request(&p384)
        .unwrap();
    assert!(matches!(
        ca.sign_machine(other.der(), machine(1), NOW_MS),
        Err(IssueError::WrongKeyKind)
    ));
    assert!(matches!(
        ca.sign_machine(&vec![0x30; 1 << 20], machine(1), NOW_MS),
        Err(IssueError::BadRequest(_))
    ));
}

#[test]
fn other_clusters_and_other_times_are_refused() {
    let (ours, theirs) = (ca(), ClusterCa::create(cluster(0xc2), NOW_MS).unwrap());
    let trust = ClusterTrust::new(ours.certificate()).unwrap();
    let stranger = credentials(&theirs, 7, NOW_MS);
    assert_eq!(
        trust.verify(stranger.certificate(), NOW_MS),
        Err(VerifyError::UnknownIssuer {
            cluster: Some(cluster(0xc2))
        })
    );
    let leaf = credentials(&ours, 7, NOW_MS);
    let at = |now_ms| trust.verify(leaf.certificate(), now_ms).map(|_| ());
    assert_eq!(at(NOW_MS + 25 * HOUR_MS), Err(VerifyError::Expired));
    assert_eq!(at(NOW_MS - HOUR_MS), Err(VerifyError::NotYetValid));
    assert_eq!(at(NOW_MS - HOUR_MS / 20), Ok(()), "backdated for skew");
    // The same cluster ID under another CA, as an attacker would make it.
    let forged = ClusterCa::create(cluster(0xc1), NOW_MS).unwrap();
    let impostor = credentials(&forged, 7, NOW_MS);
    assert!(matches!(
        trust.verify(impostor.certificate(), NOW_MS),
        Err(VerifyError::UnknownIssuer { .. })
    ));
}

#[test]
fn operators_only_dial() {
    let ca = ca();
    let key = LeafKey::generate().unwrap();
    let lifetime = Duration::from_secs(3600);
    let sign = |name| ca.sign_operator(&key.request().unwrap(), name, NOW_MS, lifetime);
    let leaf = sign("alice").unwrap();
    let trust = ClusterTrust::new(ca.certificate()).unwrap();
    let read = trust.verify(&leaf, NOW_MS).unwrap();
    assert_eq!(read.subject, Subject::Operator("alice".into()));
    assert!(trust.verify_listener(&leaf, NOW_MS).is_err());
    assert!(matches!(sign("../machine"), Err(IssueError::Name(_))));

    let whole =
        OperatorCredentials::assemble(&key, leaf.clone(), ca.certificate().to_vec(), NOW_MS)
            .unwrap();
    let again = OperatorCredentials::from_pem(&whole.to_pem(), NOW_MS).unwrap();
    assert_eq!((again.name(), again.cluster()), ("alice", cluster(0xc1)));
    assert!(OperatorCredentials::from_pem("-----BEGIN nonsense", NOW_MS).is_err());
    assert!(matches!(
        Credentials::assemble(&key, leaf, ca.certificate().to_vec(), NOW_MS),
        Err(CredentialsError::WrongSubject { .. })
    ));
}

#[test]
fn credentials_survive_the_disk_and_notice_a_wrong_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    assert!(Credentials::load(&path).unwrap().is_none());
    let ca = ca();
    let leaf = credentials(&ca, 7, NOW_MS);
    leaf.save(&path).unwrap();
    let read = Credentials::load(&path).unwrap().unwrap();
    assert_eq!(read.machine(), machine(7));
    assert_eq!(read.certificate(), leaf.certificate());
    assert!(!read.is_expired(NOW_MS) && read.is_expired(NOW_MS + 25 * HOUR_MS));

    let other = LeafKey::generate().unwrap();
    assert!(matches!(
        Credentials::assemble(
            &other,
            leaf.certificate().to_vec(),
            ca.certificate().to_vec(),
            NOW_MS
        ),
        Err(CredentialsError::WrongKey)
    ));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = Credentials::load(&path).unwrap_err().to_string();
    assert!(
        error.contains("credentials") && error.contains("join again"),
        "{error}"
    );
}

#[test]
fn a_ca_is_the_same_after_export() {
    let ca = ca();
    let again = ClusterCa::import(&ca.export()).unwrap();
    assert_eq!(again.hash(), ca.hash());
    let leaf = credentials(&again, 9, NOW_MS);
    ClusterTrust::new(ca.certificate())
        .unwrap()
        .verify(leaf.certificate(), NOW_MS)
        .unwrap();
    let other = ClusterCa::create(cluster(0xc1), NOW_MS).unwrap();
    // A certificate with somebody else's key is not a CA.
    let key_at = ca.export().len() - 138;
    let mut mixed = ca.export().to_vec();
    mixed[key_at..].copy_from_slice(&other.export()[other.export().len() - 138..]);
    assert!(ClusterCa::import(&mixed).is_err());
    assert!(ClusterCa::import(b"").is_err());
    assert!(ClusterCa::import(b"\x09rubbish").is_err());
}

#[test]
fn the_sealed_ca_opens_with_its_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, key_path) = (dir.path().join("ca"), dir.path().join("ca.key"));
    assert!(matches!(
        KeyFile::read(&key_path),
        Err(SealError::NoKeyFile(_))
    ));
    let key = KeyFile::read_or_create(&key_path).unwrap();
    assert!(open_ca(&key, &sealed).unwrap().is_none());
    let ca = ca();
    seal_ca(&ca, &key, &sealed).unwrap();
    let reread = KeyFile::read_or_create(&key_path).unwrap();
    assert_eq!(
        open_ca(&reread, &sealed).unwrap().unwrap().hash(),
        ca.hash()
    );
    let file = std::fs::read(&sealed).unwrap();
    let secret = ca.export();
    assert!(
        !file
            .windows(32)
            .any(|part| part == &secret[secret.len() - 32..])
    );

    let other_path = dir.path().join("other.key");
    std::fs::write(&other_path, [7; 32]).unwrap();
    let other = KeyFile::read(&other_path).unwrap();
    let error = open_ca(&other, &sealed).unwrap_err();
    assert!(matches!(error, SealError::WrongKey { .. }));
    assert!(error.to_string().contains("other.key"), "{error}");

    std::fs::write(&sealed, &file[..file.len() - 1]).unwrap();
    let error = open_ca(&key, &sealed).unwrap_err().to_string();
    assert!(error.contains("another coordinator"), "{error}");
    std::fs::write(&other_path, [7; 8]).unwrap();
    assert!(matches!(
        KeyFile::read(&other_path),
        Err(SealError::BadKeyFile { length: 8, .. })
    ));
}

#[test]
fn an_envelope_proves_its_writer() {
    let ca = ca();
    let trust = ClusterTrust::new(ca.certificate()).unwrap();
    let leaf = credentials(&ca, 7, NOW_MS);
    let signer = EnvelopeSigner::new(&leaf).unwrap();
    let envelope = signer.sign("profile", b"labels".to_vec()).unwrap();
    let read = Envelope::decode(&envelope.encode()).unwrap();
    assert_eq!(read, envelope);
    let verified = read.verify("profile", &trust, NOW_MS).unwrap();
    assert_eq!(verified.machine, machine(7));

    assert_eq!(
        read.verify("vitals", &trust, NOW_MS),
        Err(EnvelopeError::BadSignature)
    );
    let altered = Envelope {
        payload: b"lapels".to_vec(),
        ..read.clone()
    };
    assert_eq!(
        altered.verify("profile", &trust, NOW_MS),
        Err(EnvelopeError::BadSignature)
    );
    let swapped = Envelope {
        certificate: credentials(&ca, 8, NOW_MS).certificate().to_vec(),
        ..read.clone()
    };
    assert_eq!(
        swapped.verify("profile", &trust, NOW_MS),
        Err(EnvelopeError::BadSignature)
    );
    let late = NOW_MS + 25 * HOUR_MS;
    assert_eq!(
        read.verify("profile", &trust, late),
        Err(EnvelopeError::Certificate(VerifyError::Expired))
    );
    assert!(read.verify_expired("profile", &trust, late).is_ok());
    let stranger = ClusterTrust::new(
        ClusterCa::create(cluster(0xc2), NOW_MS)
            .unwrap()
            .certificate(),
    )
    .unwrap();
    assert!(read.verify_expired("profile", &stranger, late).is_err());
    assert!(matches!(
        signer.sign("profile", vec![0; ENVELOPE_PAYLOAD_MAX + 1]),
        Err(EnvelopeError::TooLong { .. })
    ));
}

#[test]
fn revocations_know_machines_and_operators() {
    let revoked = Revocations {
        machines: [machine(1)].into(),
        operators: ["eve".to_owned()].into(),
    };
    assert!(revoked.contains(&Subject::Machine(machine(1))));
    assert!(revoked.contains(&Subject::Operator("eve".into())));
    assert!(!revoked.contains(&Subject::Machine(machine(2))));
    assert!(!revoked.is_empty() && Revocations::default().is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512)
    ) {
        if let Ok(envelope) = Envelope::decode(&bytes) {
            prop_assert_eq!(envelope.encode(), bytes.clone());
        }
        let _ = LeafIdentity::read(&bytes);
        let _ = ClusterCa::import(&bytes);
        let _ = ClusterTrust::new(&bytes);
    }

    #[test]
    fn an_envelope_round_trips(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        certificate in proptest::collection::vec(any::<u8>(), 0..300),
        signature in proptest::collection::vec(any::<u8>(), 0..72),
    ) {
        let envelope = Envelope { payload, certificate, signature };
        prop_assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope.clone());
        let whole = envelope.encode();
        prop_assert!(Envelope::decode(&whole[..whole.len() - 1]).is_err());
    }
}

#[test]
fn a_derived_token_is_the_same_for_all_who_hold_the_ca_and_for_nobody_else() {
    let now_ms = 1_800_000_000_000;
    let cluster = ClusterId::new(7).unwrap();
    let ca = ClusterCa::create(cluster, now_ms).unwrap();
    let successor = ClusterCa::import(&ca.export()).unwrap();
    let token = ca.derive_token(5, "ordered machine");
    assert!(token == successor.derive_token(5, "ordered machine"));
    assert!(token != ca.derive_token(6, "ordered machine"));
    assert!(token != ca.derive_token(5, "something else"));
    assert!(
        token.hash()
            != ClusterCa::create(cluster, now_ms)
                .unwrap()
                .derive_token(5, "ordered machine")
                .hash()
    );
    assert!(token.reveal().parse::<JoinToken>().unwrap() == token);
}
