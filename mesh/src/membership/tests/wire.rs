//! The bytes that `docs/wire.md` describes. If one of these fails, other builds no longer understand this one: raise
//! the wire version and correct the document.

use super::*;

#[test]
fn a_ping_of_a_suspect() {
    let mut one = member(1);
    one.set_hint(Some(Hint {
        generation: 1,
        term: 2,
        index: 300,
        leader_ms: 4,
    }));
    let heard = forge(2, 100, 1, SwimMessage::Gossip, vec![]);
    one.handle_datagram(SECOND, peer(2), &heard);
    let suspect = Update {
        life: life(2, 100),
        incarnation: 0,
        state: State::Suspect,
    };
    one.swim.apply(suspect, false);
    one.absorb(SECOND, vec![peer(2).machine], How::Told, false);
    one.transmits.clear();
    let number = one.knock(life(2, 100));
    let datagram = one.poll_transmit().expect("a ping").bytes;
    let expected = [
        &[1, 1][..],                          // version, SWIM message
        &[1, 1, 2, 0xac, 2, 4],               // hint
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 100],    // sender: format, machine, generation
        &[4, 127, 0, 0, 1, 0x1b, 0x58, 0],    // its address and incarnation
        &[0, 0, 0, 0, 0, 0, 0, 2, 100],       // recipient: machine, generation
        &[1, number],                         // ping, its number
        &[0, 1],                              // one update
        &[1, 0, 0, 0, 0, 0, 0, 0, 2, 100],    // whose
        &[4, 127, 0, 0, 2, 0x1b, 0x58, 0, 1], // address, incarnation, suspect
    ];
    assert_eq!(datagram, expected.concat());
}

#[test]
fn a_table_of_two() {
    let mut one = member(1);
    let heard = forge(2, 100, 1, SwimMessage::Gossip, vec![]);
    one.handle_datagram(SECOND, peer(2), &heard);
    let expected = [
        &[1][..],                             // version
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 100],    // the sender itself
        &[4, 127, 0, 0, 1, 0x1b, 0x58, 0, 0], // alive
        &[1],                                 // one other
        &[1, 0, 0, 0, 0, 0, 0, 0, 2, 100],
        &[4, 127, 0, 0, 2, 0x1b, 0x58, 0, 0],
    ];
    assert_eq!(one.full_state(), expected.concat());
}

#[test]
fn messages_that_only_foca_knows_are_refused() {
    let mut one = member(1);
    for message in [
        SwimMessage::Announce,
        SwimMessage::Feed,
        SwimMessage::Broadcast,
    ] {
        one.handle_datagram(SECOND, peer(2), &forge(2, 100, 1, message, vec![]));
    }
    assert_eq!((one.stats().malformed, one.members().len()), (3, 0));
}
