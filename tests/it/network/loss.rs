//! A network that loses packets: nobody who lives is replaced for it, and who dies is.

use muster_tests::system::{may_make_namespaces, require};
use muster_tests::{Fleet, MachineRow, Options};

use crate::fleet::{expect_only_replaced, follower, wait_replaced};

/// As little patience as may be: who is taken for dead is replaced soon.
const IMPATIENT: &str = r#"
[[group]]
id = "web"
size = 5
heal = { unreachable_after = "8s", boot_grace = "6s", change_grace = "1s" }
"#;

fn start() -> Option<Fleet> {
    let possible = require(
        "the right to make network namespaces",
        may_make_namespaces(),
    );
    possible.then(|| {
        Fleet::start_with(Options {
            namespace: true,
            spec: Some(IMPATIENT.to_owned()),
            ..Options::default()
        })
    })
}

fn ip(machine: &MachineRow) -> &str {
    let address = machine.address.as_deref().expect("joined");
    address.rsplit_once(':').expect("it has a port").0
}

#[test]
fn with_a_third_of_all_packets_lost_only_who_dies_is_replaced() {
    let Some(fleet) = start() else { return };
    let before = fleet.wait_whole();
    fleet.namespace().lose(0.3);
    let victim = follower(&before);
    fleet.kill(&victim);
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
}

#[test]
fn a_machine_that_hears_nobody_is_replaced_and_nobody_whom_it_accuses() {
    let Some(fleet) = start() else { return };
    let before = fleet.wait_whole();
    let victim = follower(&before);
    fleet.namespace().deafen(ip(&victim));
    let after = wait_replaced(&fleet, &victim);
    expect_only_replaced(&fleet, &before, &after, &[&victim]);
}
