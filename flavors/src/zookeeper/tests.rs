use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn pets(names: &[&str]) -> Allocation {
    Allocation::Pets {
        members: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn read(value: Value, names: &[&str]) -> Result<Config, Vec<Problem>> {
    Config::read(
        &Properties::from_value(value).expect("an object"),
        &pets(names),
    )
}

fn fields(value: Value, names: &[&str]) -> Vec<String> {
    let problems = read(value, names).err().unwrap_or_default();
    problems.into_iter().map(|problem| problem.field).collect()
}

#[test]
fn numbers_come_from_names_or_from_the_list() {
    let config = read(json!({ "ids": { "main": 7 } }), &["main", "zk-12", "zk3"]);
    let config = config.expect("valid");
    assert_eq!(config.id("main"), Ok(7));
    assert_eq!(config.id("zk-12"), Ok(12));
    assert_eq!(
        config.id("zk-13"),
        Ok(13),
        "it may have been declared before"
    );
    assert!(config.id("other").is_err());
    assert_eq!(config::number_of("zk-0"), None);
    assert_eq!(config::number_of("zk-999"), None);
    assert_eq!(fields(json!({}), &["zk-a", "zk-b"]), ["ids", "ids"]);
    assert_eq!(fields(json!({}), &["a-1", "b-1"]), ["ids"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let names = ["zk-1", "zk-2", "zk-3"];
    assert_eq!(fields(json!({}), &names), [""; 0]);
    assert_eq!(
        fields(json!({ "client_port": 2888 }), &names),
        ["client_port"]
    );
    assert_eq!(fields(json!({ "command": [] }), &names), ["command"]);
    let settings = json!({ "settings": { "dataDir": "/x", "a": "b\nc", "tickTime": "500" } });
    assert_eq!(fields(settings, &names), ["settings.a", "settings.dataDir"]);
    assert_eq!(fields(json!({ "colour": 1 }), &names), ["colour"]);
}

#[test]
fn the_configuration_says_all_that_the_flavor_needs() {
    let value = json!({
        "address": "{member}.example", "admin_port": 8080, "settings": { "tickTime": "500" }
    });
    let config = read(value, &["zk-1", "zk-2"]).expect("valid");
    let text = config.text("zk-1", Path::new("/data/zk"), Path::new("/data/zk.dynamic"));
    for line in [
        "dataDir=/data/zk\n",
        "dynamicConfigFile=/data/zk.dynamic\n",
        "tickTime=500\n",
        "admin.serverAddress=zk-1.example\n",
        "reconfigEnabled=true\n",
        "skipACL=yes\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert_eq!(
        config.line("zk-2").expect("a member"),
        "server.2=zk-2.example:2888:3888:participant;zk-2.example:2181"
    );
}

#[test]
fn a_member_is_struck_off_by_its_own_host() {
    let config = read(
        json!({ "address": "{member}.example", "ids": { "zk-2": 7 } }),
        &["zk-1", "zk-2"],
    );
    let config = config.expect("valid");
    let list = members::Members::read(
        "server.1=zk-1.example:1:2:participant;3\nserver.7=zk-2.example:1:2:participant;3\n\
         server.8=zk-3.example:1:2:participant;3\nserver.9=other:1:2:participant;3",
    );
    let listed = |member| config.listed(member, &list);
    assert_eq!((listed("zk-1"), listed("zk-2")), (Ok(Some(1)), Ok(Some(7))));
    assert_eq!(listed("zk-3"), Ok(Some(8)), "its number was given once");
    assert_eq!(listed("zk-7"), Ok(None), "that is the number of zk-2");
    assert_eq!(listed("zk-4"), Ok(None));
    assert!(
        listed("zk-9").is_err(),
        "it may be there, at an old address"
    );
}

#[test]
fn one_has_itself_added_once_it_follows() {
    assert!(is_to_join(Role::Learner, false) && is_to_join(Role::Follower, false));
    assert!(!is_to_join(Role::Follower, true), "it has its vote");
    assert!(!is_to_join(Role::Outside, false) && !is_to_join(Role::Leader, false));
}
