//! `muster dev start`, `stop`, `list` and `clean`.

use std::path::Path;
use std::time::Duration;

use muster_provisioners::{Deadline, InstanceState, Provisioner, process};
use serde_json::json;

use super::place::is_fleet;
use super::root::{FleetRoot, failed, no_fleet};
use crate::cli::failure::Failure;
use crate::cli::grid::{Grid, bold, dim, plain};
use crate::cli::output::{Output, Tone};

/// How long a machine may take to start or stop.
const ONE: Duration = Duration::from_secs(30);

/// How long clearing a whole fleet away may take.
const ALL: Duration = Duration::from_secs(120);

/// Starts a stopped machine in place.
pub(crate) async fn start(dir: &Path, name: &str, out: Output) -> Result<(), Failure> {
    let root = FleetRoot::open_existing(dir).await?;
    let id = root.machine(name).await?;
    if root
        .provisioner
        .is_shut_down()
        .map_err(failed("looking at the fleet"))?
    {
        return Err(Failure::other(
            "the whole fleet is stopped; `muster dev` starts it again",
        ));
    }
    let before = root.state(&id).await?;
    root.provisioner
        .start(&id, Deadline::after(ONE))
        .await
        .map_err(failed("starting it"))?;
    match before {
        InstanceState::Running => done(out, name, "running", "runs already"),
        _ => done(out, name, "started", "is started"),
    }
}

/// Stops a machine and keeps it.
pub(crate) async fn stop(dir: &Path, name: &str, out: Output) -> Result<(), Failure> {
    let root = FleetRoot::open_existing(dir).await?;
    let id = root.machine(name).await?;
    let before = root.state(&id).await?;
    root.provisioner
        .stop(&id, Deadline::after(ONE))
        .await
        .map_err(failed("stopping it"))?;
    match before {
        InstanceState::Stopped => done(out, name, "stopped", "was stopped already"),
        _ => done(out, name, "stopped", "is stopped"),
    }
}

fn done(out: Output, name: &str, state: &str, words: &str) -> Result<(), Failure> {
    let detail = format!("{name} {words}");
    out.either(&json!({ "machine": name, "state": state }), |_, _| detail)
}

/// Shows all machines and their processes.
pub(crate) async fn list(dir: &Path, out: Output) -> Result<(), Failure> {
    let machines = FleetRoot::open_existing(dir).await?.machines().await?;
    if out.json {
        return machines.iter().try_for_each(|machine| {
            out.json(&json!({
                "name": machine.name,
                "id": machine.instance.id,
                "state": machine.instance.state,
                "address": machine.instance.address,
                "properties": machine.instance.properties,
            }))
        });
    }
    let mut grid = Grid::new(
        out.paint,
        &["MACHINE", "STATE", "PROCESS", "ADDRESS", "DIRECTORY"],
    );
    for machine in &machines {
        let tone = match machine.instance.state {
            InstanceState::Running => Tone::Good,
            InstanceState::Starting | InstanceState::Stopping => Tone::Warn,
            InstanceState::Stopped | InstanceState::Unknown => Tone::Bad,
        };
        let address = machine.instance.address.map(|address| address.to_string());
        grid.row([
            bold(&machine.name),
            (tone, machine.instance.state.to_string()),
            plain(machine.property("pid")),
            plain(address.unwrap_or_default()),
            dim(machine.property("dir")),
        ]);
    }
    out.text(&grid.render("no machines"))
}

/// Stops and removes everything. `confirm` is asked before anything is touched.
pub(crate) async fn clean(
    dir: &Path,
    out: Output,
    confirm: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !dir.try_exists()? {
        return out.either(&json!({ "removed": false }), |_, _| {
            format!("nothing to clear away: there is no {}", dir.display())
        });
    }
    if !is_fleet(dir) {
        return Err(no_fleet(dir));
    }
    let root = FleetRoot::open_existing(dir).await?;
    // Held until all is gone, so that nobody starts what is being removed.
    let _supervision = root.supervise()?;
    let machines = root.machines().await?;
    let count = machines.len();
    let names: Vec<_> = machines
        .iter()
        .map(|machine| machine.name.as_str())
        .collect();
    confirm(&format!(
        "remove {} with its {count} machines ({}) and all their data?",
        root.dir.display(),
        names.join(", ")
    ))?;
    process::clean(&root.dir, Deadline::after(ALL))
        .await
        .map_err(failed("clearing the fleet away"))?;
    out.either(&json!({ "removed": true, "machines": count }), |_, _| {
        format!("{} and its {count} machines are gone", root.dir.display())
    })
}
