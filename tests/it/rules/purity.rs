//! Cores do no I/O: time, randomness and input come in as arguments, what to do comes out.

use super::{Source, expect_none, sources};

/// Where the cores are: everything below these is one, tests apart.
const CORES: [&str; 21] = [
    "mesh/src/membership",
    "mesh/src/records",
    "agent/src/fleet",
    "agent/src/flight",
    "agent/src/heal",
    "agent/src/simulate",
    "agent/src/lint",
    "agent/src/replay",
    "agent/src/health/judge.rs",
    "agent/src/health/publish.rs",
    "agent/src/health/steady.rs",
    "agent/src/config/validate.rs",
    "agent/src/node/authority.rs",
    "agent/src/node/hints.rs",
    "agent/src/node/leader/drift.rs",
    "agent/src/node/quorum.rs",
    "agent/src/node/stamp.rs",
    "agent/src/node/refounding/ballots.rs",
    "agent/src/node/refounding/consent.rs",
    "mesh/src/consensus/seats",
    "mesh/src/consensus/follow/choose.rs",
];

/// What a core never mentions, with the reason.
const BANNED: [(&str, &str); 18] = [
    ("tokio", "the runtime drives the core, not the reverse"),
    ("quinn", "datagrams go out as data"),
    ("async ", "a core never waits"),
    (".await", "a core never waits"),
    ("std::fs", "no files"),
    ("std::io", "no input or output"),
    ("std::env", "configuration comes in as an argument"),
    ("std::process", "no processes"),
    ("std::thread", "no threads"),
    ("UdpSocket", "no sockets"),
    ("TcpStream", "no sockets"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("clock::", "time comes in as an argument"),
    ("rand::rng()", "randomness comes in as an argument"),
    ("thread_rng", "randomness comes in as an argument"),
    ("Mutex", "one task owns the core"),
    ("println!", "what is to be said is returned"),
];

/// The code of a file without comments and without its tests.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.text.lines().enumerate();
    lines
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

fn is_core(name: &str) -> bool {
    let below = |core: &str| {
        name.strip_prefix(core)
            .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
    };
    let test = name.ends_with("tests.rs") || name.contains("/tests/");
    name.ends_with(".rs") && !test && CORES.iter().any(|core| below(core))
}

fn offences(files: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in files {
        for (number, line) in code(source) {
            for (word, reason) in BANNED {
                if mentions(line, word) {
                    offences.push(format!("{}:{number}: `{word}`: {reason}", source.name));
                }
            }
        }
    }
    offences
}

/// Whether a line has the word, also as a part of a name such as `tokio_util`, but not as the beginning of another word:
/// `.awaits_answer` awaits nothing.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let rest = &line[at + word.len()..];
        !(word.ends_with(char::is_alphabetic) && rest.starts_with(char::is_lowercase))
    })
}

#[test]
fn cores_do_no_io() {
    for core in CORES {
        let files = sources("", |name| is_core(name) && name.starts_with(core));
        assert!(
            !files.is_empty(),
            "{core} is no longer there: correct this list"
        );
        expect_none(
            "a core takes arguments and returns values",
            &offences(&files),
        );
    }
}

/// A wall clock can be set, and then waits that are told by it are over: what machines have to return, what a proof has to
/// stand, what a workload has to fail.
#[test]
fn what_a_leader_judges_by_is_not_the_wall_clock() {
    let leader = |name: &str| {
        name == "agent/src/node/leader.rs" || name.starts_with("agent/src/node/leader/")
    };
    let files = sources("", leader);
    assert!(files.len() > 10, "they are somewhere else: correct this");
    let mut offences = Vec::new();
    for source in &files {
        let read = code(source).filter(|(_, line)| mentions(line, "unix_ms"));
        offences.extend(read.map(|(number, _)| format!("{}:{number}", source.name)));
    }
    expect_none("a leader reads `Mesh::steady` in its place", &offences);
}

#[test]
fn the_rule_sees_an_offence_and_passes_over_comments_and_tests() {
    let text = "// tokio\nuse std::fs; // quinn\nlet x = y.awaits();\n#[cfg(test)]\nuse tokio;\n";
    let file = Source {
        name: "core.rs".into(),
        text: text.into(),
    };
    assert_eq!(offences(&[file]), ["core.rs:2: `std::fs`: no files"]);
}
