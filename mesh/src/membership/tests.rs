//! The membership, input by input. Whole meshes run in `crate::simulator`.

mod doubt;
mod rubbish;
mod wave;
mod wire;

use std::time::Duration;

use bytes::BytesMut;

use super::codec::put_update;
use super::swim::{Packet, State, SwimMessage, Update};
use super::*;
use crate::wire::{DATAGRAM_MAX, Kind, Reader, WireError, put_varint, read_kind};

const SECOND: Duration = Duration::from_secs(1);

fn peer(number: u64) -> Peer {
    Peer {
        machine: MachineId::new(number).expect("not zero"),
        addr: ([127, 0, 0, number as u8], 7000).into(),
    }
}

fn member(number: u64) -> Membership {
    Membership::new(Config::default(), peer(number), Generation(100), number)
}

fn events(membership: &mut Membership) -> Vec<Event> {
    std::iter::from_fn(|| membership.poll_event()).collect()
}

/// Delivers everything at once until `until`, without loss; pulls of state too.
fn run(now: &mut Duration, until: Duration, members: &mut [Membership]) {
    loop {
        let mut idle = true;
        for index in 0..members.len() {
            let from = members[index].me();
            while let Some(transmit) = members[index].poll_transmit() {
                idle = false;
                if let Some(to) = members.iter_mut().find(|member| member.me() == transmit.to) {
                    to.handle_datagram(*now, from, &transmit.bytes);
                }
            }
            while let Some(command) = members[index].poll_command() {
                idle = false;
                if let Command::PullState(to) = command
                    && let Some(other) = members.iter().position(|member| member.me() == to)
                {
                    let request = members[index].full_state();
                    members[other]
                        .handle_full_state(*now, from.machine, &request)
                        .expect("valid");
                    let answer = members[other].full_state();
                    members[index]
                        .handle_full_state(*now, to.machine, &answer)
                        .expect("valid");
                }
            }
        }
        if !idle {
            continue;
        }
        let Some(next) = members.iter().filter_map(Membership::poll_timeout).min() else {
            return;
        };
        if next > until {
            *now = until;
            return;
        }
        *now = next.max(*now);
        for member in members.iter_mut() {
            member.handle_timeout(*now);
        }
    }
}

fn mesh(size: u64) -> (Duration, Vec<Membership>) {
    let mut now = SECOND;
    let mut members: Vec<Membership> = (1..=size).map(member).collect();
    for member in &mut members[1..] {
        member.join(now, &[peer(1)]);
    }
    run(&mut now, 10 * SECOND, &mut members);
    for member in &mut members {
        assert_eq!(member.active_count() as u64, size - 1);
        events(member);
    }
    (now, members)
}

#[test]
fn three_members_find_each_other_through_one_seed() {
    let (_, members) = mesh(3);
    assert!(
        members
            .iter()
            .flat_map(Membership::members)
            .all(|member| member.status == Status::Alive)
    );
}

#[test]
fn an_idle_member_pings_once_a_second_and_says_nothing_else() {
    let (mut now, mut members) = mesh(5);
    run(&mut now, 30 * SECOND, &mut members);
    let before: u64 = members
        .iter()
        .map(|member| member.stats().datagrams_out)
        .sum();
    run(&mut now, 130 * SECOND, &mut members);
    let sent = members
        .iter()
        .map(|member| member.stats().datagrams_out)
        .sum::<u64>()
        - before;
    // About a ping and an answer a second and member, and a hash every 30 to 60 s.
    assert!(
        (900..1150).contains(&sent),
        "{sent} datagrams in 100 s among five"
    );
}

#[test]
fn who_was_cut_off_or_asleep_has_to_watch_anew() {
    assert_eq!(member(1).attentive_since(), None, "it never heard anybody");
    let (mut now, mut members) = mesh(3);
    let since = members[0].attentive_since().expect("it has company");
    run(&mut now, 40 * SECOND, &mut members);
    assert_eq!(members[0].attentive_since(), Some(since));

    // Cut off: its timers go on, and nothing reaches it.
    run(&mut now, 50 * SECOND, &mut members[..1]);
    assert_eq!(members[0].attentive_since(), Some(since), "nothing new yet");
    let ping = forge(2, 100, 1, SwimMessage::Ping(1), Vec::new());
    members[0].handle_datagram(now, peer(2), &ping);
    assert_eq!(members[0].attentive_since(), Some(now));

    // Asleep.
    let woken = now + 20 * SECOND;
    members[0].handle_timeout(woken);
    assert_eq!(members[0].attentive_since(), Some(woken));
}

/// What `from` sends next to `to`, taken apart.
fn sent(from: &mut Membership, to: u64) -> Vec<(Kind, Packet)> {
    std::iter::from_fn(|| from.poll_transmit())
        .filter(|transmit| transmit.to == peer(to))
        .filter_map(|transmit| {
            assert!(transmit.bytes.len() <= DATAGRAM_MAX);
            let mut reader = Reader::new(&transmit.bytes);
            let kind = read_kind(&mut reader).expect("own kind");
            Hint::read(&mut reader).expect("own hint");
            Packet::decode(reader.left())
                .ok()
                .map(|packet| (kind, packet))
        })
        .collect()
}

/// A datagram that claims to be from life `generation` of machine `from`.
fn forge(
    from: u64,
    generation: u64,
    to: u64,
    message: SwimMessage<Life>,
    updates: Vec<Update>,
) -> Vec<u8> {
    let packet = Packet {
        src: life(from, generation),
        src_incarnation: 0,
        dst: life(to, 100),
        message,
        updates,
    };
    [&[1, Kind::Swim as u8, 0], &packet.encode()[..]].concat()
}

fn life(number: u64, generation: u64) -> Life {
    let Peer { machine, addr } = peer(number);
    Life {
        machine,
        generation: Generation(generation),
        addr,
    }
}

fn about(number: u64, generation: u64, state: State) -> Update {
    Update {
        life: life(number, generation),
        incarnation: 0,
        state,
    }
}

#[test]
fn a_claimed_sender_must_be_the_authenticated_one() {
    let mut one = member(1);
    let claim = forge(3, 100, 1, SwimMessage::Gossip, vec![]);
    one.handle_datagram(SECOND, peer(2), &claim);
    assert_eq!((one.stats().spoofed, one.members().len()), (1, 0));
    one.handle_datagram(SECOND, peer(3), &claim);
    assert_eq!(one.members().len(), 1);
}

#[test]
fn nobody_makes_us_call_at_an_unknown_address() {
    let mut one = member(1);
    let request = SwimMessage::PingReq {
        target: life(9, 100),
        probe_number: 1,
    };
    one.handle_datagram(SECOND, peer(2), &forge(2, 100, 1, request, vec![]));
    assert_eq!(sent(&mut one, 9).len(), 0);
    let known = vec![about(9, 100, State::Alive)];
    one.handle_datagram(
        SECOND,
        peer(2),
        &forge(2, 100, 1, SwimMessage::Gossip, known),
    );
    let request = SwimMessage::PingReq {
        target: life(9, 100),
        probe_number: 1,
    };
    one.handle_datagram(SECOND, peer(2), &forge(2, 100, 1, request, vec![]));
    let calls = sent(&mut one, 9);
    assert!(
        calls
            .iter()
            .any(|(_, packet)| matches!(packet.message, SwimMessage::IndirectPing { .. }))
    );
}

#[test]
fn a_suspicion_of_a_stranger_makes_no_member() {
    let mut one = member(1);
    let news = vec![about(9, 100, State::Suspect), about(8, 100, State::Down)];
    one.handle_datagram(
        SECOND,
        peer(2),
        &forge(2, 100, 1, SwimMessage::Gossip, news),
    );
    assert_eq!(one.member(peer(9).machine), None);
    assert_eq!(
        one.member(peer(8).machine).map(|member| member.status),
        Some(Status::Down)
    );
    assert_eq!(
        events(&mut one).len(),
        1,
        "the sender is up; a death never known as a life is no news"
    );
}

#[test]
fn a_departure_is_told_from_a_failure_whichever_is_heard_first() {
    for marked_first in [true, false] {
        let (now, mut members) = mesh(3);
        let down = forge(
            2,
            100,
            1,
            SwimMessage::Gossip,
            vec![about(3, 100, State::Down)],
        );
        let one = &mut members[0];
        if marked_first {
            one.mark_leaving(peer(3).machine, Generation(100));
        }
        one.handle_datagram(now, peer(2), &down);
        one.mark_leaving(peer(3).machine, Generation(100));
        assert_eq!(
            one.member(peer(3).machine).map(|member| member.status),
            Some(Status::Left)
        );
        let left = |event: &&Event| matches!(event, Event::Left { .. });
        assert_eq!(events(one).iter().filter(left).count(), 1);
    }
}

#[test]
fn an_old_announcement_does_not_excuse_a_new_life() {
    let (now, mut members) = mesh(3);
    let one = &mut members[0];
    one.mark_leaving(peer(3).machine, Generation(100));
    let reborn = vec![about(3, 101, State::Alive)];
    one.handle_datagram(now, peer(2), &forge(2, 100, 1, SwimMessage::Gossip, reborn));
    let down = vec![about(3, 101, State::Down)];
    one.handle_datagram(now, peer(2), &forge(2, 100, 1, SwimMessage::Gossip, down));
    assert_eq!(
        one.member(peer(3).machine).map(|member| member.status),
        Some(Status::Down)
    );
}

fn renew_events(membership: &mut Membership) -> Vec<Generation> {
    let renewals = events(membership)
        .into_iter()
        .filter_map(|event| match event {
            Event::Renew { generation } => Some(generation),
            _ => None,
        });
    renewals.collect()
}

#[test]
fn a_new_generation_is_asked_for_before_it_is_used() {
    let (now, mut members) = mesh(3);
    let one = &mut members[0];
    let dead = |generation| {
        forge(
            2,
            100,
            1,
            SwimMessage::Gossip,
            vec![about(1, generation, State::Down)],
        )
    };
    one.handle_datagram(now, peer(2), &dead(100));
    assert_eq!(renew_events(one), [Generation(101)]);
    assert_eq!(one.generation(), Generation(100), "not durable yet");
    one.handle_datagram(now, peer(2), &dead(100));
    assert_eq!(renew_events(one), [], "asked once");
    one.handle_timeout(now + 15 * SECOND);
    assert_eq!(
        renew_events(one),
        [Generation(101)],
        "and again when nothing came of it"
    );
    one.renewed(now + 15 * SECOND, Generation(500));
    assert_eq!(one.generation(), Generation(500));
    let greeting = sent(one, 2);
    assert!(
        greeting
            .iter()
            .any(|(_, packet)| packet.src == life(1, 500))
    );
}

#[test]
fn renewals_are_damped() {
    let (mut now, mut members) = mesh(3);
    let one = &mut members[0];
    let mut asked = 0;
    for _ in 0..600 {
        now += SECOND / 10;
        let me = one.generation().0;
        let mut claim = forge(2, 100, 1, SwimMessage::TurnUndead, vec![]);
        if me > 100 {
            claim = forge(
                2,
                100,
                1,
                SwimMessage::Gossip,
                vec![about(1, me, State::Down)],
            );
        }
        one.handle_datagram(now, peer(2), &claim);
        one.handle_timeout(now);
        for generation in renew_events(one) {
            asked += 1;
            one.renewed(now, generation);
        }
    }
    assert!(
        (4..=8).contains(&asked),
        "{asked} renewals in a minute of being told that we are dead"
    );
}

#[test]
fn a_hint_is_reported_while_it_is_greater() {
    let (mut now, mut members) = mesh(2);
    let hint = |index| Hint {
        index,
        ..Hint::default()
    };
    members[1].set_hint(Some(hint(7)));
    members[0].set_hint(Some(hint(5)));
    run(&mut now, 30 * SECOND, &mut members);
    let hints = |membership: &mut Membership| {
        let hints = events(membership)
            .into_iter()
            .filter(|event| matches!(event, Event::Hint { .. }));
        hints.collect::<Vec<_>>()
    };
    let reported = hints(&mut members[0]);
    assert!(!reported.is_empty());
    for event in reported {
        let from = peer(2).machine;
        assert_eq!(
            event,
            Event::Hint {
                from,
                hint: hint(7)
            }
        );
    }
    assert_eq!(hints(&mut members[1]), []);
    members[0].set_hint(Some(hint(7)));
    run(&mut now, 30 * SECOND, &mut members);
    assert_eq!(hints(&mut members[0]), []);
}

#[test]
fn the_table_is_bounded_and_the_longest_dead_make_room() {
    let state = |from: u64, first: u64, count: u64, state: State| {
        let mut out = BytesMut::from(&[1_u8][..]);
        put_update(&mut out, &about(from, 100, State::Alive).into());
        put_varint(&mut out, count);
        for number in first..first + count {
            put_update(&mut out, &about(number, 100, state).into());
        }
        out
    };
    let limit = MEMBERS_MAX as u64;
    let mut one = member(1);
    one.handle_full_state(
        SECOND,
        peer(2).machine,
        &state(2, 10, limit - 1, State::Alive),
    )
    .expect("valid");
    assert_eq!(one.members().len(), MEMBERS_MAX);
    let alive = vec![about(limit + 10, 100, State::Alive)];
    one.handle_datagram(
        SECOND,
        peer(2),
        &forge(2, 100, 1, SwimMessage::Gossip, alive.clone()),
    );
    assert_eq!(
        (one.members().len(), one.stats().refused_full),
        (MEMBERS_MAX, 1)
    );
    let dead = vec![about(10, 100, State::Down)];
    one.handle_datagram(
        SECOND,
        peer(2),
        &forge(2, 100, 1, SwimMessage::Gossip, dead),
    );
    one.handle_datagram(
        SECOND,
        peer(2),
        &forge(2, 100, 1, SwimMessage::Gossip, alive),
    );
    assert_eq!(one.members().len(), MEMBERS_MAX);
    assert_eq!(one.member(peer(10).machine), None, "made room");
    assert!(one.member(peer(limit + 10).machine).is_some());
    let too_many = state(2, 10, limit + 1, State::Alive);
    assert_eq!(
        one.handle_full_state(SECOND, peer(2).machine, &too_many),
        Err(WireError::TooMany(MEMBERS_MAX))
    );
    assert!(one.full_state().len() <= FULL_STATE_MAX);
}

#[test]
fn reports_of_an_unreachable_peer_are_not_repeated_to_the_network() {
    let (now, mut members) = mesh(3);
    let one = &mut members[0];
    for _ in 0..100 {
        one.handle_unreachable_hint(now, peer(2).machine);
    }
    let checks = std::iter::from_fn(|| one.poll_command());
    assert_eq!(checks.count(), 1);
}

#[test]
fn a_member_that_is_suspected_anew_while_its_clock_runs_is_not_suspect_for_ever() {
    let (mut now, mut members) = mesh(3);
    members.remove(2);
    let suspect = |incarnation| Update {
        incarnation,
        ..about(3, 100, State::Suspect)
    };
    let status = |one: &Membership| one.member(peer(3).machine).map(|member| member.status);
    while !members[0].suspicions.contains_key(&peer(3).machine) {
        now += SECOND / 20;
        run(&mut now.clone(), now, &mut members);
    }
    // It objected to that suspicion, which we did not hear, and was suspected again.
    let again = forge(2, 100, 1, SwimMessage::Gossip, vec![suspect(1)]);
    members[0].handle_datagram(now, peer(2), &again);
    run(&mut now.clone(), now + 60 * SECOND, &mut members[..1]);
    assert_eq!(status(&members[0]), Some(Status::Down));
}
