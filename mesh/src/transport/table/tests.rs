//! The table's decisions, without any network.

use std::cell::Cell;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::limits::{BACKOFF_MIN, DATAGRAM_QUEUE_MAX, DATAGRAM_STALE, SIMULTANEOUS};
use super::*;

#[derive(Debug, Clone)]
struct Fake {
    id: u64,
    used: Rc<Cell<Duration>>,
    busy: Rc<Cell<bool>>,
}

impl PartialEq for Fake {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Fake {}

impl Connection for Fake {
    fn id(&self) -> u64 {
        self.id
    }
    fn last_used(&self) -> Duration {
        self.used.get()
    }
    fn is_busy(&self) -> bool {
        self.busy.get()
    }
}

type Table = PeerTable<Fake, u32>;

const ME: u64 = 100;

fn table(connections_max: usize) -> Table {
    PeerTable::new(machine(ME), connections_max, secs(60))
}

fn fake(id: u64, used: u64) -> Fake {
    Fake {
        id,
        used: Rc::new(Cell::new(secs(used))),
        busy: Rc::new(Cell::new(false)),
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn machine(number: u64) -> MachineId {
    MachineId::new(number).unwrap()
}

fn peer(number: u64) -> Peer {
    Peer {
        machine: machine(number),
        addr: ([127, 0, 0, 1], 1000 + number as u16).into(),
    }
}

fn datagram(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn current(table: &Table, number: u64) -> Option<u64> {
    table.current(machine(number)).map(|fake| fake.id)
}

#[test]
fn datagrams_wait_for_one_dial_and_go_out_in_order() {
    let mut table = table(10);
    let now = secs(1);
    let first = table.offer(now, peer(1), datagram("a"));
    assert_eq!(
        first,
        Offer::Queued {
            dropped: 0,
            dial: true
        }
    );
    table.dial_begun(now, peer(1), 7);
    let second = table.offer(now, peer(1), datagram("b"));
    assert_eq!(
        second,
        Offer::Queued {
            dropped: 0,
            dial: false
        }
    );
    assert_eq!(table.route(now, peer(1)), Route::Dialling(7));
    table.dial_ended(machine(1));
    let inserted = table.insert(now, peer(1), fake(1, 1), true);
    assert_eq!(inserted.flush, [datagram("a"), datagram("b")]);
    assert_eq!((table.connections(), table.dials()), (1, 0));
    assert_eq!(table.route(now, peer(1)), Route::Connected(fake(1, 1)));
}

#[test]
fn a_full_queue_drops_the_oldest_and_a_late_connection_the_stale() {
    let mut table = table(10);
    for n in 0..DATAGRAM_QUEUE_MAX as u64 + 3 {
        let offer = table.offer(secs(1), peer(1), datagram("old"));
        let dial = n == 0;
        let dropped = u64::from(n >= DATAGRAM_QUEUE_MAX as u64);
        assert_eq!(offer, Offer::Queued { dropped, dial });
        if dial {
            table.dial_begun(secs(1), peer(1), 0);
        }
    }
    let later = secs(1) + DATAGRAM_STALE + secs(1);
    table.offer(later, peer(1), datagram("new"));
    table.dial_ended(machine(1));
    let inserted = table.insert(later, peer(1), fake(1, 5), true);
    assert_eq!(inserted.flush, [datagram("new")]);
    assert_eq!(inserted.stale, DATAGRAM_QUEUE_MAX as u64 - 1);
}

#[test]
fn a_failed_dial_is_followed_by_a_growing_pause_that_a_connection_ends() {
    let mut table = table(10);
    let now = secs(1);
    table.offer(now, peer(1), datagram("a"));
    table.dial_begun(now, peer(1), 0);
    assert_eq!(table.dial_failed(now, machine(1), u64::MAX), 1);
    assert_eq!(table.offer(now, peer(1), datagram("b")), Offer::Unreachable);
    assert!(matches!(table.route(now, peer(1)), Route::Wait(_)));
    let after = now + BACKOFF_MIN;
    assert!(matches!(
        table.offer(after, peer(1), datagram("c")),
        Offer::Queued { dial: true, .. }
    ));
    for _ in 0..10 {
        table.dial_begun(after, peer(1), 0);
        table.dial_failed(after, machine(1), 1023);
    }
    assert_eq!(
        table.offer(after + secs(10), peer(1), datagram("d")),
        Offer::Unreachable
    );
    // A request does not wait that long.
    assert_eq!(table.route(after + secs(10), peer(1)), Route::Dial);
    // The peer comes to us.
    table.insert(after, peer(1), fake(1, 1), false);
    table.remove(after, machine(1), 1);
    assert!(matches!(
        table.offer(after, peer(1), datagram("e")),
        Offer::Queued { dial: true, .. }
    ));
}

#[test]
fn crossed_dials_leave_the_lower_machines_connection_on_both_sides() {
    // 5 < 100: what 5 dialled stays, whichever came first.
    for ours_first in [true, false] {
        let mut here = table(10);
        let mut insert = |mine: bool| {
            let id = if mine { 1 } else { 2 };
            here.insert(secs(1), peer(5), fake(id, 1), mine)
        };
        insert(ours_first);
        let second = insert(!ours_first);
        assert_eq!(second.current.id, 2);
        assert_eq!(second.retired.map(|fake| fake.id), Some(1));
        assert_eq!(current(&here, 5), Some(2));
        assert!(here.is_retired(machine(5), 1) && !here.is_retired(machine(5), 2));
    }
    // 200 > 100: what we dialled stays.
    let mut here = table(10);
    here.insert(secs(1), peer(200), fake(2, 1), false);
    here.insert(secs(2), peer(200), fake(1, 1), true);
    assert_eq!(current(&here, 200), Some(1));
}

#[test]
fn a_restarted_peers_connection_replaces_the_old_one() {
    let mut table = table(10);
    table.insert(secs(1), peer(200), fake(1, 1), true);
    let later = secs(1) + SIMULTANEOUS + secs(1);
    let inserted = table.insert(later, peer(200), fake(2, 9), false);
    assert_eq!(inserted.current.id, 2);
    assert_eq!(inserted.retired.map(|fake| fake.id), Some(1));
    // When the one in use ends, the other one is back in use.
    assert!(!table.remove(later, machine(200), 2));
    assert_eq!(current(&table, 200), Some(1));
    assert!(!table.is_retired(machine(200), 1));
    assert!(table.remove(later, machine(200), 1));
    assert_eq!(table.connections(), 0);
}

#[test]
fn a_third_connection_ousts_the_oldest() {
    let mut table = table(10);
    table.insert(secs(1), peer(200), fake(1, 1), false);
    table.insert(secs(20), peer(200), fake(2, 1), false);
    let third = table.insert(secs(40), peer(200), fake(3, 1), false);
    assert_eq!(third.evicted, [fake(1, 1)]);
    assert_eq!(table.connections(), 2);
}

#[test]
fn room_is_made_by_the_least_recently_used_that_is_neither_warm_nor_busy() {
    let mut table = table(4);
    table.set_warm([peer(1), peer(ME)]);
    assert!(!table.is_warm(machine(ME)));
    let busy = fake(2, 2);
    busy.busy.set(true);
    table.insert(secs(9), peer(1), fake(1, 1), true);
    table.insert(secs(9), peer(2), busy, true);
    table.insert(secs(9), peer(3), fake(3, 8), true);
    table.insert(secs(9), peer(4), fake(4, 7), true);
    let fifth = table.insert(secs(9), peer(5), fake(5, 9), true);
    assert_eq!(fifth.evicted, [fake(4, 0)]);
    let sixth = table.insert(secs(9), peer(6), fake(6, 9), true);
    assert_eq!(sixth.evicted, [fake(3, 0)]);
    assert_eq!(table.connections(), 4);
}

#[test]
fn a_changed_address_is_tried_once_beside_the_connection() {
    let mut table = table(10);
    table.insert(secs(1), peer(1), fake(1, 1), false);
    let moved = Peer {
        addr: ([127, 0, 0, 9], 9).into(),
        ..peer(1)
    };
    let offer = table.offer(secs(2), moved, datagram("a"));
    assert!(matches!(offer, Offer::Send { dial: true, .. }));
    table.dial_begun(secs(2), moved, 0);
    table.dial_failed(secs(2), machine(1), 0);
    let offer = table.offer(secs(100), moved, datagram("a"));
    assert!(matches!(offer, Offer::Send { dial: false, .. }));
    assert_eq!(table.at(peer(1).addr), [(machine(1), None)]);
}

#[test]
fn idle_connections_are_only_closed_when_there_are_many() {
    let mut table = table(1000);
    let many = CONNECTIONS_COMFORTABLE as u64 + 1;
    for n in 1..many {
        table.insert(secs(0), peer(n + 200), fake(n, n), true);
    }
    assert!(table.idle(secs(10_000)).is_empty());
    table.insert(secs(0), peer(1), fake(many, 0), true);
    table.set_warm([peer(1)]);
    let idle = table.idle(secs(70));
    assert_eq!(idle.len(), 10, "those used at 1 to 10 s, not the warm one");
}

#[test]
fn warm_peers_without_connection_are_dialled_when_their_pause_is_over() {
    let mut table = table(10);
    table.set_warm([peer(1), peer(2)]);
    table.insert(secs(1), peer(2), fake(2, 1), true);
    assert_eq!(table.cold(secs(1)), [peer(1)]);
    table.dial_begun(secs(1), peer(1), 0);
    assert!(table.cold(secs(1)).is_empty());
    table.dial_failed(secs(1), machine(1), 1023);
    assert!(table.cold(secs(1)).is_empty());
    assert_eq!(table.cold(secs(2)), [peer(1)]);
}

#[test]
fn forgotten_and_purged_peers_leave_nothing() {
    let mut table = table(10);
    table.insert(secs(1), peer(1), fake(1, 1), true);
    table.offer(secs(1), peer(2), datagram("a"));
    table.dial_begun(secs(1), peer(2), 0);
    assert_eq!(table.forget(machine(1)), [fake(1, 1)]);
    assert!(table.forget(machine(2)).is_empty());
    table.dial_failed(secs(1), machine(2), 0);
    table.purge(secs(1) + PEER_FORGOTTEN_AFTER);
    assert_eq!(
        (table.peers.len(), table.connections(), table.dials()),
        (0, 0, 0)
    );
}

proptest! {
    /// Whatever happens in whatever order, the counts are those of what is there, and the limits hold.
    #[test]
    fn counts_and_limits_hold(steps in proptest::collection::vec((0..8u8, 1..12u64, any::<u64>()), 1..300)) {
        let mut table = table(6);
        let mut now = Duration::ZERO;
        let mut next = 0;
        for (step, who, random) in steps {
            now += Duration::from_millis(random % 3000);
            let dialling = table.peers.get(&machine(who)).is_some_and(|entry| entry.dial.is_some());
            match step {
                0 | 1 => {
                    let dial = match table.offer(now, peer(who), datagram("x")) {
                        Offer::Send { dial, .. } | Offer::Queued { dial, .. } => dial,
                        Offer::Unreachable => false,
                    };
                    if dial {
                        prop_assert!(!dialling);
                        table.dial_begun(now, peer(who), 0);
                    }
                }
                2 if dialling => { table.dial_failed(now, machine(who), random); }
                3 | 4 => {
                    if step == 3 { table.dial_ended(machine(who)); }
                    next += 1;
                    table.insert(now, peer(who), fake(next, random % 100), step == 3);
                }
                5 => { table.remove(now, machine(who), random % (next + 1)); }
                6 => { table.forget(machine(who)); }
                _ => { table.purge(now); table.idle(now); table.set_warm([peer(who)]); }
            }
            prop_assert_eq!(table.connections(), table.all().count());
            prop_assert!(table.connections() <= 6);
            let dials = table.peers.values().filter(|entry| entry.dial.is_some()).count();
            prop_assert_eq!(table.dials(), dials);
            prop_assert!(table.peers.values().all(|entry| entry.held.len() <= 2));
        }
    }
}
