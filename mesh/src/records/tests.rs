//! The records, input by input. Whole meshes run in `crate::simulator`.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::wire::WireError;

const SECOND: Duration = Duration::from_secs(1);

/// Trusts everybody: the "signature" is the machine's number in front of the payload.
struct Honest(MachineId);

impl RecordSigner for Honest {
    fn sign(&self, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok([&self.0.get().to_be_bytes()[..], &payload].concat())
    }
}

impl RecordVerifier for Honest {
    fn verify(&self, signed: &[u8]) -> Option<(MachineId, Vec<u8>)> {
        let (machine, payload) = signed.split_first_chunk()?;
        Some((
            MachineId::new(u64::from_be_bytes(*machine))?,
            payload.to_vec(),
        ))
    }
}

fn peer(number: u64) -> Peer {
    Peer {
        machine: MachineId::new(number).expect("not zero"),
        addr: ([127, 0, 0, number as u8], 7000).into(),
    }
}

fn records(number: u64) -> Records {
    let machine = peer(number).machine;
    Records::new(
        peer(number),
        Generation(100),
        number,
        Box::new(Honest(machine)),
        Box::new(Honest(machine)),
    )
}

fn profile(name: &str) -> Profile {
    Profile {
        name: name.into(),
        ..Profile::default()
    }
}

/// Delivers everything at once until `until`, without loss.
fn run(now: &mut Duration, until: Duration, all: &mut [Records]) {
    loop {
        let mut idle = true;
        for index in 0..all.len() {
            let from = all[index].own().peer;
            while let Some(transmit) = all[index].poll_transmit() {
                idle = false;
                let to = all
                    .iter_mut()
                    .find(|other| other.me == transmit.to.machine)
                    .expect("known");
                to.handle_datagram(*now, from, &transmit.bytes);
            }
            while let Some(Command::Pull { from: to, request }) = all[index].poll_command() {
                idle = false;
                let other = all
                    .iter_mut()
                    .find(|other| other.me == to.machine)
                    .expect("known");
                let answer = other.handle_pull(&request).expect("valid");
                all[index]
                    .handle_pull_response(*now, to, &answer)
                    .expect("valid");
            }
        }
        if !idle {
            continue;
        }
        let Some(next) = all
            .iter()
            .filter_map(Records::poll_timeout)
            .min()
            .filter(|next| *next <= until)
        else {
            *now = until;
            return;
        };
        *now = next.max(*now);
        all.iter_mut()
            .for_each(|records| records.handle_timeout(*now));
    }
}

fn mesh(size: u64) -> (Duration, Vec<Records>) {
    let mut now = SECOND;
    let mut all: Vec<Records> = (1..=size).map(records).collect();
    for records in &mut all {
        let own = profile(&format!("machine-{}", records.me.get()));
        records.set_profile(now, own).expect("signs");
        records.set_vitals(
            now,
            Vitals {
                level: 1,
                ..Vitals::default()
            },
        );
        for other in (1..=size).map(peer) {
            records.peer_up(now, other, Generation(100));
        }
    }
    run(&mut now, 10 * SECOND, &mut all);
    (now, all)
}

#[test]
fn everybody_learns_every_profile_and_all_vitals() {
    let (_, all) = mesh(20);
    for records in &all {
        for record in records.iter() {
            let name = format!("machine-{}", record.machine.get());
            assert_eq!(
                record.profile.as_ref().map(|profile| &profile.name),
                Some(&name)
            );
            assert_eq!(record.vitals.map(|vitals| vitals.level), Some(1));
        }
    }
}

#[test]
fn nothing_but_hashes_travels_when_nothing_changes() {
    let (mut now, mut all) = mesh(10);
    run(&mut now, 60 * SECOND, &mut all);
    let count = |all: &[Records]| -> (u64, u64) {
        let stats = all.iter().map(Records::stats);
        stats.fold((0, 0), |sum, stats| {
            (sum.0 + stats.datagrams_out, sum.1 + stats.pulls)
        })
    };
    let before = count(&all);
    run(&mut now, 660 * SECOND, &mut all);
    let (datagrams, pulls) = (count(&all).0 - before.0, count(&all).1 - before.1);
    assert!(
        (100..=200).contains(&datagrams),
        "{datagrams} datagrams in ten minutes among ten"
    );
    assert_eq!(pulls, 0);
}

#[test]
fn mere_figures_wait_but_a_new_level_does_not() {
    let (mut now, mut all) = mesh(3);
    let with = |level, figure| Vitals {
        level,
        figures: [Some(figure), None, None, None, None, None, None, None],
        ..Vitals::default()
    };
    let known = |records: &Records| records.get(peer(1).machine).expect("known").vitals;
    all[0].set_vitals(now, with(1, 10));
    run(&mut now, 11 * SECOND, &mut all);
    assert_eq!(
        known(&all[1]).map(|vitals| vitals.figures[0]),
        Some(None),
        "not yet told"
    );
    all[0].set_vitals(now, with(1, 20));
    run(&mut now, 14 * SECOND, &mut all);
    assert_eq!(known(&all[0]), Some(with(1, 10)), "not yet published");
    run(&mut now, 21 * SECOND, &mut all);
    assert_eq!(known(&all[1]), Some(with(1, 20)));
    all[0].set_vitals(now, with(2, 20));
    run(&mut now, 22 * SECOND, &mut all);
    assert_eq!(known(&all[1]), Some(with(2, 20)));
    assert_eq!(known(&all[2]), Some(with(2, 20)));
}

#[test]
fn a_new_life_replaces_what_the_former_one_said() {
    let (mut now, mut all) = mesh(3);
    let mut reborn = Records::new(
        peer(1),
        Generation(200),
        7,
        Box::new(Honest(peer(1).machine)),
        Box::new(Honest(peer(1).machine)),
    );
    reborn
        .set_profile(now, profile("born again"))
        .expect("signs");
    for other in [2, 3] {
        reborn.peer_up(now, peer(other), Generation(100));
        all[other as usize - 1].peer_up(now, peer(1), Generation(200));
    }
    assert_eq!(
        all[1].get(peer(1).machine).and_then(|r| r.profile.clone()),
        Some(profile("machine-1"))
    );
    all[0] = reborn;
    run(&mut now, 20 * SECOND, &mut all);
    for records in &all {
        let record = records.get(peer(1).machine).expect("known");
        assert_eq!(record.profile, Some(profile("born again")));
        assert_eq!(record.generation, Generation(200));
    }
}

#[test]
fn a_record_that_its_machine_did_not_sign_is_refused() {
    let (mut now, mut all) = mesh(2);
    let forged = Edition {
        machine: peer(1).machine,
        generation: Generation(100),
        version: 9,
        profile: profile("evil"),
    };
    let signed = Honest(peer(2).machine)
        .sign(forged.encode().expect("fits"))
        .expect("signs");
    let mut answer = vec![1, 2];
    crate::wire::put_varint(&mut answer, signed.len() as u64);
    answer.extend_from_slice(&signed);
    all[1]
        .handle_pull_response(now, peer(1), &answer)
        .expect("decodes");
    assert_eq!(all[1].stats().unverified, 1);
    run(&mut now, 12 * SECOND, &mut all);
    assert_eq!(
        all[1].get(peer(1).machine).and_then(|r| r.profile.clone()),
        Some(profile("machine-1"))
    );
}

#[test]
fn rubbish_is_counted_and_changes_nothing() {
    let (now, mut all) = mesh(2);
    let records = &mut all[0];
    let before: Vec<Record> = records.iter().cloned().collect();
    for rubbish in [
        &[][..],
        &[9],
        &[1, 0x11, 1, 2, 3],
        &[1, 0x12, 0],
        &[1, 0x01, 0],
    ] {
        records.handle_datagram(now, peer(2), rubbish);
    }
    assert_eq!(records.stats().malformed, 5);
    assert_eq!(records.handle_pull(&[1, 1, 3, 0]), Err(WireError::Length));
    assert!(records.handle_pull(&[1, 9]).is_err());
    assert_eq!(before, records.iter().cloned().collect::<Vec<_>>());
}

/// The bytes that `docs/wire.md` describes. If this fails, other builds no longer understand this one.
#[test]
fn a_digest_of_one_line() {
    let (now, mut all) = mesh(2);
    let figures = [Some(-1), None, Some(100), None, None, None, None, None];
    all[0].set_vitals(
        now,
        Vitals {
            level: 2,
            reasons: 5,
            figures,
        },
    );
    let tag = Tag::new(peer(1).machine, Generation(100));
    let mut expected = BytesMut::from(&[1, 0x11][..]);
    expected.put_uint(tag.number(), 6);
    // Versions of profile and vitals, level, reasons, which figures, and those.
    expected.extend_from_slice(&[1, 2, 2, 5, 0b101, 1, 0xc8, 1]);
    assert_eq!(all[0].digest([peer(1).machine].into_iter()).0, expected);
    assert_eq!(tag.number(), 0x8a64_ea47_bf54, "how a life is named");
}

/// A digest with a line for each member of a mesh, an answer with their profiles, and requests for both.
fn valid_inputs() -> Vec<Vec<u8>> {
    let (_, mut all) = mesh(5);
    let digest = all[0]
        .digest((2..=5).map(|number| peer(number).machine))
        .0
        .to_vec();
    let mut ask_profiles = vec![1, 2, 4];
    (2..=5).for_each(|number: u64| ask_profiles.extend_from_slice(&number.to_be_bytes()));
    let profiles = all[0].handle_pull(&ask_profiles).expect("valid").to_vec();
    let ask_lines = [&[1, 1, 1][..], &[0; 8]].concat();
    let lines = all[0].handle_pull(&ask_lines).expect("valid").to_vec();
    vec![digest, ask_profiles, profiles, ask_lines, lines]
}

proptest! {
    #[test]
    fn rubbish_never_panics(inputs: Vec<Vec<u8>>) {
        let (now, mut all) = mesh(2);
        for input in &inputs {
            all[0].handle_datagram(now, peer(2), input);
            let _ = all[0].handle_pull(input);
            let _ = all[0].handle_pull_response(now, peer(2), input);
        }
        prop_assert_eq!(all[0].iter().len(), 2);
    }

    #[test]
    fn damaged_inputs_never_panic_nor_fill_memory(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..100),
    ) {
        static VALID: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(valid_inputs);
        let (now, mut all) = mesh(5);
        let records = &mut all[0];
        for (which, at, with) in damage {
            let mut input = which.get(&VALID).clone();
            let at = at.index(input.len());
            input[at] = with;
            records.handle_datagram(now, peer(2), &input);
            let _ = records.handle_pull(&input);
            let _ = records.handle_pull_response(now, peer(2), &input);
            records.handle_timeout(now);
        }
        prop_assert_eq!(records.iter().len(), 5);
        prop_assert!(records.transmits.len() <= 64 && records.commands.len() <= 200);
    }
}
