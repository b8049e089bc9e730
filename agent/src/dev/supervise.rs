//! `muster dev` itself: bring the fleet up, watch it, bring it down.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_mesh::clock::unix_ms;
use muster_provisioners::{Deadline, InstanceState};
use tokio::time::Instant;

use super::place::Machines;
use super::root::{FleetRoot, failed};
use super::say::Say;
use super::specs::{Applied, wanted};
use super::{DIR_DEFAULT, applying, founding};
use crate::api::types::{EventsRequest, Request, Response};
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::signals::Signals;
use crate::cli::time;
use crate::dashboard::{self, Feed, Nodes, Snapshot, Update};

/// How long bringing machines back may take.
const RESUME: Duration = Duration::from_secs(60);

/// How long stopping may take: each agent has some seconds before it is killed.
const SHUT_DOWN: Duration = Duration::from_secs(45);

/// What `muster dev` was asked for.
#[derive(Debug, Clone)]
pub(crate) struct DevOptions {
    /// The fleet's directory.
    pub(crate) dir: PathBuf,
    /// Spec files in place of the default fleet.
    pub(crate) files: Vec<PathBuf>,
    /// How many machines the default fleet has.
    pub(crate) machines: Option<u32>,
}

/// Runs a fleet until told to stop.
///
/// # Errors
/// When it can't be brought up, or down; it is brought down in either case.
pub(crate) async fn run(options: DevOptions, out: Output) -> Result<(), Failure> {
    let begun_ms = unix_ms();
    // Before anything is made: a signal in between must not leave a fleet behind.
    let mut signals = Signals::listen()?;
    let specs = wanted(&options.files, options.machines)?;
    let root = FleetRoot::open_or_create(&options.dir).await?;
    let _supervision = root.supervise()?;
    let say = Say::new(out);
    let up = tokio::select! {
        biased;
        () = signals.next() => Ok(None),
        up = bring_up(&root, &options, specs, say) => up.map(Some),
    };
    let watched = match up {
        Ok(Some(up)) => watch(&root, up, begun_ms, &mut signals, out).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // A fleet that did not come up is brought down like any other; what went wrong first is what is told.
    let stopped = bring_down(&root, say).await;
    watched.and(stopped)
}

/// What was found out while the fleet came up.
struct Up {
    /// Events until here were told by an earlier `dev`.
    events_told: Option<u64>,
}

async fn bring_up(
    root: &FleetRoot,
    options: &DevOptions,
    specs: Vec<crate::fleet::spec::GroupSpec>,
    say: Say,
) -> Result<Up, Failure> {
    let before = root.machines().await?;
    if before.is_empty() {
        founding::found(root, &specs, say).await?;
        applying::apply(root, &specs, say).await?;
        Applied::new(specs).write(&root.dir)?;
        return Ok(Up { events_told: None });
    }
    resume(root, &before, say).await?;
    let told = last_event(root).await;
    let applied = Applied::read(&root.dir);
    let asked_for = !options.files.is_empty() || options.machines.is_some() || applied.is_none();
    if asked_for && applied != Some(Applied::new(specs.clone())) {
        applying::apply(root, &specs, say).await?;
        Applied::new(specs).write(&root.dir)?;
    }
    Ok(Up { events_told: told })
}

/// Starts what was there before, and takes over what still runs.
async fn resume(
    root: &FleetRoot,
    before: &[super::root::DevMachine],
    say: Say,
) -> Result<(), Failure> {
    let resumed = root.provisioner.resume(Deadline::after(RESUME)).await;
    let resumed = resumed.map_err(failed("starting the fleet again"))?;
    let runs = |state| state == InstanceState::Running;
    for machine in root.machines().await? {
        let id = &machine.instance.id;
        let ran = before
            .iter()
            .any(|old| old.instance.id == *id && runs(old.instance.state));
        let result = resumed
            .iter()
            .find(|resumed| resumed.id == *id)
            .map(|resumed| &resumed.result);
        let pid = machine.property("pid");
        let (kind, detail) = match result {
            _ if ran => ("adopted", format!("runs already, as process {pid}")),
            Some(Ok(())) if pid.is_empty() => (
                "failed",
                format!(
                    "was started and ended at once; {} says why",
                    machine.property("log")
                ),
            ),
            Some(Ok(())) => ("started", format!("is back, as process {pid}")),
            Some(Err(error)) => ("failed", error.to_string()),
            None => (
                "stopped",
                format!(
                    "stays stopped; `muster dev start {}` starts it",
                    machine.name
                ),
            ),
        };
        say.own(kind, Some(&machine.name), detail)?;
    }
    Ok(())
}

/// The last event that anyone can tell of, so that a restart doesn't tell all of history again.
async fn last_event(root: &FleetRoot) -> Option<u64> {
    let client = Machines::new(&root.dir).connect().await.ok()?;
    let request = EventsRequest {
        limit: Some(1),
        ..EventsRequest::default()
    };
    match client.call(&Request::Events(request)).await {
        Ok(Response::Events(events)) => events.items.last().map(|event| event.seq),
        _ => None,
    }
}

async fn watch(
    root: &FleetRoot,
    up: Up,
    begun_ms: u64,
    signals: &mut Signals,
    out: Output,
) -> Result<(), Failure> {
    let machines = Machines::new(&root.dir);
    let mut feed = Feed::new(&machines);
    match up.events_told {
        Some(seq) => feed.skip_events_until(seq),
        None => feed.tell_all_events(),
    }
    feed.snapshot_mut().begun_ms = Some(begun_ms);
    let ask = how_to_ask(&root.dir);
    if out.json || !is_screen() {
        return watch_lines(&mut feed, signals, Say::new(out), &ask).await;
    }
    feed.snapshot_mut().leave = "q or Ctrl-C stops the fleet".into();
    feed.snapshot_mut().note = format!("elsewhere: {ask}");
    dashboard::run(&mut feed, signals.next()).await?;
    Ok(())
}

/// Whether a live view can be shown: on a terminal that can be drawn on, with somebody at it.
fn is_screen() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// One event a line, until a signal.
async fn watch_lines(
    feed: &mut Feed<'_>,
    signals: &mut Signals,
    say: Say,
    ask: &str,
) -> Result<(), Failure> {
    let mut ready = false;
    let mut lost = false;
    loop {
        let update = tokio::select! {
            biased;
            () = signals.next() => return Ok(()),
            update = feed.next() => update,
        };
        match update {
            Update::Event(event) => say.event(&event)?,
            Update::Lost(error) if !lost => {
                lost = true;
                say.own("lost", None, format!("{}; trying on", error.message))?;
            }
            Update::Lost(_) => {}
            Update::Status => {
                lost = false;
                let Snapshot {
                    status,
                    begun_ms,
                    whole_ms,
                    ..
                } = feed.snapshot();
                if let (Some(status), Some((begun_ms, whole_ms)), false) =
                    (status, begun_ms.zip(*whole_ms), ready)
                {
                    ready = true;
                    let took_ms = whole_ms.saturating_sub(begun_ms);
                    say.own(
                        "ready",
                        None,
                        ready_line(status.machines.len(), took_ms, ask),
                    )?;
                }
            }
        }
    }
}

fn ready_line(machines: usize, took_ms: u64, ask: &str) -> String {
    format!(
        "{machines} machines run after {}; ask them with `{ask}`",
        time::precise(took_ms)
    )
}

/// What to type in another shell.
fn how_to_ask(dir: &Path) -> String {
    let here = std::env::current_dir()
        .ok()
        .map(|here| here.join(DIR_DEFAULT));
    if here.is_some_and(|here| here.canonicalize().is_ok_and(|here| here == dir)) {
        "muster status".into()
    } else {
        format!("muster status --node {}", dir.display())
    }
}

async fn bring_down(root: &FleetRoot, say: Say) -> Result<(), Failure> {
    let running = root.machines().await?;
    let count = running
        .iter()
        .filter(|machine| machine.instance.state.may_run())
        .count();
    // Whoever reads our output may be the first to have gone; that is no reason to leave machines running.
    let _ = say.own("stopping", None, format!("{count} machines"));
    let began = Instant::now();
    root.provisioner
        .shut_down(Deadline::after(SHUT_DOWN))
        .await
        .map_err(failed(
            "stopping the fleet; `muster dev clean` ends what is left",
        ))?;
    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    say.own(
        "stopped",
        None,
        format!(
            "{count} machines stopped in {}; `muster dev` brings them back, `muster dev clean` removes them",
            time::precise(took)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ask_fits_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let shown = how_to_ask(dir.path());
        assert_eq!(
            shown,
            format!("muster status --node {}", dir.path().display())
        );
    }
}
