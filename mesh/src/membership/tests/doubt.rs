//! Whose word is not taken for granted.

use super::*;

/// Takes member 2 for dead, and then hears it in a new life that takes member 3 for dead. Whether member 1 believes that.
fn is_believed(verified_imports: bool) -> bool {
    let (mut now, mut members) = mesh(3);
    let mut one = members.remove(0);
    one.config.safeguards.verified_imports = verified_imports;
    now += SECOND;
    let dead = vec![about(2, 100, State::Down)];
    let told = forge(3, 100, 1, SwimMessage::Gossip, dead);
    one.handle_datagram(now, peer(3), &told);
    let status = |one: &Membership, number| one.member(peer(number).machine).map(|it| it.status);
    assert_eq!(status(&one, 2), Some(Status::Down));
    let grudge = vec![about(3, 100, State::Down)];
    let back = forge(2, 101, 1, SwimMessage::Gossip, grudge);
    one.handle_datagram(now, peer(2), &back);
    assert_eq!(status(&one, 2), Some(Status::Alive), "it is back");
    let asked = one.inquiries.contains_key(&peer(3).machine);
    let believed = status(&one, 3) == Some(Status::Down);
    assert!(asked != believed, "it is asked about instead");
    believed
}

/// Who was cut off took the others for dead, and says so when it is heard again.
#[test]
fn the_verdicts_of_who_was_dead_are_looked_into() {
    assert!(!is_believed(true));
    assert!(is_believed(false), "is the safeguard still needed?");
}
