//! What is kept, for how long, and at what price.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn machine(number: u64) -> MachineId {
    MachineId::new(number).expect("not zero")
}

/// IDs as the fleet gives them out: spread over all numbers.
fn spread(number: u64) -> MachineId {
    machine((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
}

/// A machine's report, its figures wandering by a percent or two.
fn frame(seconds: u64, version: u64) -> Frame {
    let wander = |base: i32| Some(base + (version % 3) as i32);
    Frame {
        at: SECOND * seconds as u32,
        generation: Generation(1_800_000_000),
        version,
        vitals: Vitals {
            level: 0,
            reasons: 0,
            figures: [
                wander(10),
                wander(40),
                Some(35),
                wander(25),
                Some(0),
                Some(0),
                Some(0),
                wander(5),
            ],
        },
    }
}

#[test]
fn the_last_two_minutes_of_a_busy_machine_are_there_whenever_it_dies() {
    let mut recorder = FlightRecorder::new(machine(1), BYTES_MAX);
    for number in 1..=500 {
        recorder.handle_frame(machine(2), &frame(5 * number, number));
        let held = recorder.held(machine(2), SECOND * (5 * number) as u32);
        let oldest = held.frames.first().expect("one at least").age_ms;
        assert!(
            oldest >= 120_000.min(5_000 * (number - 1)),
            "{number}: {oldest}"
        );
        assert_eq!(held.frames.last().map(|frame| frame.version), Some(number));
        assert_eq!(held.ended_age_ms, None);
    }
    recorder.handle_ended(machine(2), Some(SECOND * 2_503));
    let held = recorder.held(machine(2), SECOND * 2_510);
    assert_eq!(held.ended_age_ms, Some(7_000));
    let (peers, bytes) = recorder.size();
    println!(
        "one busy peer: {} frames in {bytes} bytes",
        held.frames.len()
    );
    assert_eq!(peers, 1);
    assert!(bytes <= TRACK_COST + 2 * PEER_PIECE + 32);
}

#[test]
fn ten_thousand_peers_stay_below_the_limit_and_the_nearest_are_kept() {
    let me = spread(0);
    let mut recorder = FlightRecorder::new(me, BYTES_MAX);
    let mut peers: Vec<_> = (1..10_000).map(spread).collect();
    for minute in 0..4 {
        for peer in &peers {
            recorder.handle_frame(*peer, &frame(60 * minute, minute));
            assert!(recorder.size().1 <= BYTES_MAX);
        }
    }
    let (kept, bytes) = recorder.size();
    println!("{kept} of {} peers in {bytes} bytes", peers.len());
    assert!(kept > 400, "{kept}");
    peers.sort_by_key(|peer| distance(me, *peer));
    for (rank, peer) in peers.iter().enumerate() {
        let held = !recorder.held(*peer, SECOND).frames.is_empty();
        assert_eq!(held, rank < kept, "rank {rank}");
    }
}

#[test]
fn machines_long_gone_make_room_before_distant_ones() {
    let me = machine(1 << 40);
    let mut recorder = FlightRecorder::new(me, 10 * (TRACK_COST + 64));
    let near = machine(1 << 40 | 1);
    recorder.handle_frame(near, &frame(1, 1));
    recorder.handle_ended(near, Some(SECOND * 2));
    for number in 2..40 {
        recorder.handle_frame(machine(number), &frame(ENDED_KEPT.as_secs(), number));
    }
    let now = ENDED_KEPT;
    assert!(
        !recorder.held(near, now).frames.is_empty(),
        "not yet an hour"
    );
    recorder.handle_frame(machine(50), &frame(ENDED_KEPT.as_secs() + 3, 1));
    assert!(recorder.held(near, now).frames.is_empty());
    recorder.handle_ended(near, Some(now));
    assert_eq!(
        recorder.held(near, now),
        Held::default(),
        "unknown is unknown"
    );
}

#[test]
fn its_own_track_is_longer_and_costs_the_peers_nothing() {
    let mut recorder = FlightRecorder::new(machine(1), BYTES_MAX);
    for number in 0..2_000 {
        recorder.handle_frame(
            machine(1),
            &Frame {
                version: 0,
                ..frame(5 * number, number)
            },
        );
    }
    let held = recorder.held(machine(1), SECOND * 5 * 1_999);
    assert!(held.frames[0].age_ms > 900_000, "{}", held.frames[0].age_ms);
    assert_eq!(recorder.size(), (0, 0));
}

proptest! {
    #[test]
    fn any_frames_come_back_as_they_were(
        parts in proptest::collection::vec(
            (0..u64::from(u32::MAX), any::<u64>(), any::<u64>(), any::<u8>(), any::<u64>(), any::<[Option<i32>; 8]>()),
            1..40,
        ),
    ) {
        let mut track = Track::default();
        let mut said = Vec::new();
        for (tenths, generation, version, level, reasons, figures) in parts {
            let frame = Frame {
                at: Duration::from_millis(tenths * 100),
                generation: Generation(generation),
                version,
                vitals: Vitals { level, reasons, figures },
            };
            track.push(&frame, PEER_PIECE);
            said.push(frame);
        }
        let kept = track.frames();
        prop_assert!(!kept.is_empty());
        prop_assert_eq!(&kept[..], &said[said.len() - kept.len()..]);
        prop_assert!(track.bytes() <= 2 * (PEER_PIECE + 32));
    }
}
