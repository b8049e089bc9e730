//! The membership, input by input. Whole meshes run in `crate::simulator`.

use std::time::Duration;

use super::*;

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
fn an_idle_member_pings_once_a_period_and_says_nothing_else() {
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
    // A ping and an answer a second and member, and a hash every 30 to 60 s.
    assert!(
        (900..1150).contains(&sent),
        "{sent} datagrams in 100 s among five"
    );
}
