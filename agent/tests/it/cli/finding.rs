//! Whom the command asks when nobody said.

use super::asking::status;
use super::node::{Node, muster, run};
use muster::api::Response;
use muster::api::types::{AsOf, Listed};

/// The directory of a `dev` fleet with one machine that answers.
fn fleet() -> Node {
    let node = Node::at(
        ".muster-dev/instances/p-1/api.sock",
        (0..8).map(|_| Ok(status(3))),
    );
    let dir = node.directory().join(".muster-dev");
    std::fs::write(dir.join("root.json"), "{}").expect("writable");
    let home = |id: &str, name: &str| {
        let home = dir.join("instances").join(id);
        std::fs::create_dir_all(&home).expect("writable");
        let socket = home.join("api.sock").display().to_string();
        let config = format!("name = \"{name}\"\napi_socket = {socket:?}\n");
        std::fs::write(home.join("agent.toml"), config).expect("writable");
    };
    home("p-1", "web-1");
    // A machine that is gone is passed over, although it comes first by name.
    home("p-0", "db-1");
    node
}

#[test]
fn in_the_directory_of_a_fleet_any_of_its_machines_is_asked() {
    let node = fleet();
    let mut command = muster(&["status", "--json"]);
    command.current_dir(node.directory());
    let ended = run(command, "");
    if std::path::Path::new("/var/lib/muster/api.sock").exists() {
        return;
    }
    assert_eq!(ended.with(0).json()["answered_by"], "web-1");
}

#[test]
fn a_fleet_is_named_by_its_directory_and_a_machine_by_its_name() {
    let node = fleet();
    for name in [".muster-dev", "web-1"] {
        let mut command = muster(&["status", "--json", "--node", name]);
        command.current_dir(node.directory());
        assert_eq!(
            run(command, "").with(0).json()["answered_by"],
            "web-1",
            "{name}"
        );
    }
    let mut command = muster(&["status", "--node", "db-1"]);
    command.current_dir(node.directory());
    run(command, "").with(3);
}

#[test]
fn of_a_fleets_machines_one_with_a_fresh_copy_is_asked() {
    let groups = |name: &str, age_ms| {
        let as_of = AsOf::new(name, 1_000_000, 1_000_000 + age_ms);
        let items = vec![];
        Ok(Response::Groups(Listed { as_of, items }))
    };
    let answers = |name, age_ms| Node::answering((0..4).map(move |_| groups(name, age_ms)));
    let cut_off = answers("db-1", AsOf::STALE_AFTER_MS + 1);
    let young = answers("web-1", 500);
    let fleet = tempfile::tempdir().expect("a directory");
    std::fs::write(fleet.path().join("root.json"), "{}").expect("writable");
    for (name, node) in [("db-1", &cut_off), ("web-1", &young)] {
        let home = fleet.path().join("instances").join(name);
        std::fs::create_dir_all(&home).expect("writable");
        let socket = node.socket().display().to_string();
        let config = format!("name = \"{name}\"\napi_socket = {socket:?}\n");
        std::fs::write(home.join("agent.toml"), config).expect("writable");
    }
    let ask = || {
        let mut command = muster(&["group", "list", "--node"]);
        command.arg(fleet.path());
        run(command, "").with(0).stdout
    };
    assert!(ask().contains("answered by web-1, 500 ms old"));
    drop(young);
    let shown = ask();
    assert!(shown.contains("OLD: db-1"), "better than nobody: {shown}");
}

#[test]
fn the_environment_names_a_node_and_the_flag_outranks_it() {
    let node = Node::answering([Ok(status(3))]);
    let mut command = muster(&["status"]);
    command.env("MUSTER_NODE", node.socket());
    run(command, "").with(0);
    let mut command = muster(&["status", "--node", "/nowhere.sock"]);
    command.env("MUSTER_NODE", node.socket());
    run(command, "").with(3);
    let mut command = muster(&["status"]);
    command.env("MUSTER_NODE", "");
    let ended = run(command, "").with(2);
    assert!(
        ended
            .stderr
            .contains("MUSTER_NODE in the environment, is empty"),
        "{ended:#?}"
    );
}

#[test]
fn an_address_takes_an_operators_certificate() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = muster(&["status", "--node", "127.0.0.1:1"]);
    command
        .env("HOME", directory.path())
        .env_remove("XDG_CONFIG_HOME");
    let ended = run(command, "").with(2);
    assert!(
        ended.stderr.contains("muster operator create"),
        "{ended:#?}"
    );
}
