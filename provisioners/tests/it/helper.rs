//! Plays the launcher, the agents and other provisioners in the tests of `process`.
//!
//! - `process-launch DIRECTORY`: what `muster process-launch` is.
//! - `agent --config FILE ARGS...`: binds its address, writes `ready` with its arguments and environment into its
//!   directory, touches its disk, and runs until it is killed. `IGNORE_TERM` makes it ignore polite requests,
//!   `CHILD` makes it leave a child behind.
//! - `provision ROOT CLUSTER COUNT DISK|-`: makes machines as another process would, one after the other, and prints
//!   their IDs; then waits to be killed.

use std::env;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use muster_provisioners::process::{LAUNCH_COMMAND, ProcessConfig, launch};
use muster_provisioners::{
    Attachment, Deadline, MachineSpec, OperationId, Properties, Provisioner, tag,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [LAUNCH_COMMAND, directory] => return launch(Path::new(directory)),
        ["agent", "--config", config, ..] => agent(Path::new(config), &words),
        ["provision", root, cluster, count, disk] => {
            provision(root, cluster, count.parse().expect("a number"), disk);
        }
        other => panic!("unknown arguments: {other:?}"),
    }
    ExitCode::SUCCESS
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work);
}

fn agent(config: &Path, words: &[&str]) {
    let text = fs::read_to_string(config).expect("a configuration");
    let config: toml::Table = text.parse().expect("valid TOML");
    let bind = config["bind"].as_str().expect("an address");
    let _socket = UdpSocket::bind(bind).expect("a free address");
    // Never waited for: as a real workload's, its end is nobody's business.
    let _child = env::var_os("CHILD").map(|_| {
        Command::new("sleep")
            .arg("100000")
            .spawn()
            .expect("a child")
    });
    if let Some(disk) = env::var_os("MUSTER_DATA") {
        fs::write(Path::new(&disk).join("mark"), bind).expect("written");
    }
    run(async {
        let ignored = env::var_os("IGNORE_TERM").map(|_| {
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .expect("a signal")
        });
        let environment: Vec<String> = env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        let ready = format!("{}\n{}", words.join(" "), environment.concat());
        fs::write("ready.new", ready)
            .and_then(|()| fs::rename("ready.new", "ready"))
            .expect("written");
        std::future::pending::<()>().await;
        drop(ignored);
    });
}

fn provision(root: &str, cluster: &str, count: u64, disk: &str) {
    run(async {
        let deadline = || Deadline::after(Duration::from_secs(60));
        let mut config = ProcessConfig::new(root);
        config.stop_grace = Duration::from_millis(200);
        let provisioner = config.open(deadline()).await.expect("opened");
        for number in 0..count {
            let member = number.to_string();
            let op = OperationId::derive(cluster, "g", &member, 1, "provision");
            let mut spec = MachineSpec::new(format!("{cluster}-{member}"), Properties::new());
            spec.tags.insert(tag::CLUSTER, cluster);
            if disk != "-" {
                spec.attachments = vec![Attachment::new(disk, "")];
            }
            match provisioner.provision(&spec, &op, deadline()).await {
                Ok(id) => say(id.as_str()),
                Err(error) => say(&error.to_string()),
            }
        }
        say("done");
        std::future::pending::<()>().await;
    });
}

/// Prints a line, if anybody still listens.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
