use std::path::PathBuf;

use super::*;

const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(20),
    output_max: 64,
    may_leave_processes: false,
};

fn shell(line: impl Into<String>) -> CommandLine {
    CommandLine::Shell(line.into())
}

async fn outcome(line: impl Into<String>, limits: Limits) -> Outcome {
    run(&shell(line), &BTreeMap::new(), None, limits).await
}

/// Whether a process is there and no zombie.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited too long until {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A script that starts a child that outlives it, and whose number ends up in the file.
fn leaving_a_child(file: &Path) -> String {
    format!("sleep 1000 & echo $! > {}; ", file.display())
}

fn read(file: &PathBuf) -> String {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[tokio::test]
async fn endings_are_told_apart() {
    assert_eq!(outcome("exit 3", LIMITS).await.ending, Ending::Exited(3));
    assert_eq!(
        outcome("kill -9 $$", LIMITS).await.ending,
        Ending::Signalled(9)
    );
    assert_eq!(
        outcome("no-such-program-here", LIMITS).await.ending,
        Ending::Exited(127)
    );
    let missing = CommandLine::Program(vec!["/no/such/program".into()]);
    let outcome = run(&missing, &BTreeMap::new(), None, LIMITS).await;
    assert!(
        matches!(outcome.ending, Ending::CannotRun(_)),
        "{outcome:?}"
    );
    let nothing = CommandLine::Program(Vec::new());
    let outcome = run(&nothing, &BTreeMap::new(), None, LIMITS).await;
    assert!(
        matches!(outcome.ending, Ending::CannotRun(_)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn both_streams_are_heard_in_order_and_environment_and_directory_hold() {
    let variables = BTreeMap::from([("WHO".to_owned(), "db-1".to_owned())]);
    let line = shell("echo one; echo $WHO >&2; pwd");
    let outcome = run(&line, &variables, Some(Path::new("/")), LIMITS).await;
    assert_eq!(outcome.output, "one\ndb-1\n/\n");
    assert!(outcome.is_success());
}

#[tokio::test]
async fn only_the_end_of_endless_output_is_kept() {
    let limits = Limits {
        timeout: Duration::from_millis(300),
        ..LIMITS
    };
    let outcome = outcome(
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
        limits,
    )
    .await;
    assert_eq!(outcome.ending, Ending::TimedOut);
    assert!(
        outcome.output.len() <= limits.output_max,
        "{}",
        outcome.output.len()
    );
    assert!(outcome.output.contains('x'));
}

#[tokio::test]
async fn when_time_is_up_the_whole_group_dies() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let limits = Limits {
        timeout: Duration::from_millis(500),
        may_leave_processes: true,
        ..LIMITS
    };
    // Ignoring the polite signal makes no difference.
    let line = format!("trap '' TERM; {} sleep 1000", leaving_a_child(&file));
    let outcome = outcome(line, limits).await;
    assert_eq!(outcome.ending, Ending::TimedOut);
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
    let child = read(&file);
    assert!(!child.is_empty());
    until("the grandchild is dead", || !lives(&child)).await;
}

#[tokio::test]
async fn what_a_check_leaves_behind_is_killed_and_does_not_delay_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let outcome = outcome(leaving_a_child(&file) + "echo done", LIMITS).await;
    assert_eq!(
        (outcome.ending, outcome.output.as_str()),
        (Ending::Exited(0), "done\n")
    );
    assert!(outcome.took < Duration::from_secs(10), "{:?}", outcome.took);
    let child = read(&file);
    until("the grandchild is dead", || !lives(&child)).await;
}

#[tokio::test]
async fn a_service_that_a_script_starts_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let limits = Limits {
        may_leave_processes: true,
        ..LIMITS
    };
    let outcome = outcome(leaving_a_child(&file), limits).await;
    assert!(outcome.is_success());
    let child = read(&file);
    assert!(lives(&child), "the service was killed");
    // It is ours, started just now, and nobody has reaped it: the number is still its own.
    let pid = Pid::from_raw(child.parse().expect("a number")).expect("not zero");
    rustix::process::kill_process(pid, Signal::KILL).expect("killed");
}

#[tokio::test]
async fn giving_up_kills_the_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pid");
    let line = shell(leaving_a_child(&file) + "sleep 1000");
    let none = BTreeMap::new();
    let wait = until("the child is there", || !read(&file).is_empty());
    tokio::select! {
        outcome = run(&line, &none, None, LIMITS) => panic!("ended: {outcome:?}"),
        () = wait => (),
    }
    let child = read(&file);
    until("the grandchild is dead", || !lives(&child)).await;
}
