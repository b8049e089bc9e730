//! What arrives may be anything: nothing of it panics, and nothing grows without bound.

use proptest::prelude::*;

use super::*;

/// Everything that a small mesh says within some seconds, a death and a restart included.
fn conversation() -> Vec<(Peer, Vec<u8>)> {
    let (mut now, mut members) = mesh(4);
    let mut said = Vec::new();
    members.pop();
    for _ in 0..400 {
        now += SECOND / 50;
        for index in 0..members.len() {
            members[index].handle_timeout(now);
            let from = members[index].me();
            while let Some(transmit) = members[index].poll_transmit() {
                said.push((from, transmit.bytes.to_vec()));
                if let Some(to) = members.iter_mut().find(|member| member.me() == transmit.to) {
                    to.handle_datagram(now, from, &transmit.bytes);
                }
            }
        }
    }
    said
}

proptest! {
    #[test]
    fn rubbish_never_panics(datagrams: Vec<Vec<u8>>, state: Vec<u8>) {
        let mut one = member(1);
        for datagram in &datagrams {
            one.handle_datagram(SECOND, peer(2), datagram);
        }
        prop_assert!(one.handle_full_state(SECOND, peer(2).machine, &state).is_err());
        prop_assert_eq!(one.members().len(), 0);
    }

    #[test]
    fn damaged_datagrams_never_panic_nor_fill_memory(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0_u64..2000), 1..200),
        cut in any::<prop::sample::Index>(),
    ) {
        static SAID: std::sync::LazyLock<Vec<(Peer, Vec<u8>)>> = std::sync::LazyLock::new(conversation);
        let (mut now, mut members) = mesh(3);
        let one = &mut members[0];
        for (which, at, with, millis) in damage {
            let (from, mut datagram) = which.get(&SAID).clone();
            let at = at.index(datagram.len());
            datagram[at] = with;
            if with % 7 == 0 {
                datagram.truncate(cut.index(datagram.len()));
            }
            now += Duration::from_millis(millis);
            one.handle_datagram(now, from, &datagram);
            one.handle_timeout(now);
            while one.poll_transmit().is_some() || one.poll_command().is_some() || one.poll_event().is_some() {}
        }
        prop_assert!(one.members().len() < 1000);
        prop_assert!(one.inquiries.len() <= 64 && one.suspicions.len() <= one.members().len());
    }

    #[test]
    fn damaged_tables_never_panic(at in any::<prop::sample::Index>(), with: u8) {
        let (now, mut members) = mesh(3);
        let mut state = members[1].full_state().to_vec();
        let at = at.index(state.len());
        state[at] = with;
        let _ = members[0].handle_full_state(now, peer(2).machine, &state);
        prop_assert!(members[0].members().len() <= 3);
    }
}
