//! Tests of the inventory.

use proptest::prelude::*;

use super::*;

fn problems(text: &str) -> Vec<String> {
    let found = Inventory::read(text).expect_err("refused");
    assert!(found.iter().all(|problem| !problem.remedy.is_empty()));
    found.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn nodes_take_from_the_defaults_what_they_do_not_say() {
    let text = r#"
        [defaults]
        credentials = "/etc/bmc.toml"
        boot = "media"
        wipe = "image"
        trust = "anyone"

        [nodes.r1n1]
        controller = "https://10.0.0.1"
        system = "/redfish/v1/Systems/1"
        labels = { rack = "r1", slot = 1 }
        mac = "52-54-00-AA-BB-CC"
        address = "10.1.0.1"

        [nodes.r1n2]
        protocol = "ipmi"
        controller = "10.0.0.2:6230"
        cipher_suite = 17
        boot = "pxe"
        wipe = "keep"

        [nodes.r1n3]
        protocol = "ipmi"
        controller = "bmc3.example"
        firmware = "bios"
        boot = "disk"
    "#;
    let inventory = Inventory::read(text).expect("valid");
    let one = &inventory.nodes["r1n1"];
    assert_eq!((one.boot, one.wipe), (BootMethod::Media, WipePolicy::Image));
    assert_eq!(one.mac.as_deref(), Some("52:54:00:aa:bb:cc"));
    assert_eq!(one.labels["slot"], "1");
    let Address::Redfish { http, system } = &one.controller else {
        panic!("{one:?}");
    };
    assert_eq!(
        (&http.trust, system.as_deref()),
        (&Trust::Anyone, Some("/redfish/v1/Systems/1"))
    );
    let address = |name: &str| inventory.nodes[name].controller.clone();
    let ipmi = |host: &str, port, cipher, is_uefi| {
        let host = host.to_owned();
        Address::Ipmi(Way {
            host,
            port,
            cipher,
            is_uefi,
        })
    };
    assert_eq!(address("r1n2"), ipmi("10.0.0.2", 6230, Some(17), true));
    assert_eq!(address("r1n3"), ipmi("bmc3.example", 623, None, false));
    assert_eq!(inventory.nodes["r1n2"].wipe, WipePolicy::Keep);
}

#[test]
fn everything_that_is_wrong_is_told_with_its_field() {
    let text = r#"
        colour = "red"
        [nodes.a]
        [nodes."a b"]
        controller = "https://one"
        [nodes.c]
        controller = "ftp://one"
        boot = "floppy"
        mac = "52:54"
        address = "here"
        labels = { rack = [] }
        credentials = "bmc.toml"
        trust = "me"
        password = "secret"
        [nodes.d]
        protocol = "ipmi"
        cipher_suite = 0
        controller = "-oProxy"
        boot = "media"
    "#;
    let mut found = problems(text);
    found.sort();
    let expected = [
        "colour",
        "nodes.a b",
        "nodes.a.controller",
        "nodes.c.address",
        "nodes.c.boot",
        "nodes.c.controller",
        "nodes.c.credentials",
        "nodes.c.labels.rack",
        "nodes.c.mac",
        "nodes.c.password",
        "nodes.c.trust",
        "nodes.d.boot",
        "nodes.d.cipher_suite",
        "nodes.d.controller",
    ];
    assert_eq!(found, expected);
    let error = Inventory::read("[nodes.a]\ncontroller = \"x").expect_err("no TOML");
    assert!(error[0].reason.contains("line 2"), "{}", error[0]);
}

#[test]
fn a_controller_is_named_once() {
    let text =
        "[nodes.a]\ncontroller = \"https://one/\"\n[nodes.b]\ncontroller = \"https://ONE\"\n";
    assert_eq!(problems(text), ["nodes.b.controller"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = Inventory::read(&text);
        let _ = Inventory::read(&format!("[nodes.a]\ncontroller = \"{text}\"\nmac = \"{text}\""));
    }
}
