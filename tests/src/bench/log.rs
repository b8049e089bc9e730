//! Watches the agents' logs: every line of interest with the moment at which it was written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{Agent, News};
use crate::wait::now;

/// What an agent came to know, and when.
#[derive(Debug, Clone)]
pub struct Learnt {
    /// The agent, by its key.
    pub by: String,
    /// When its line was seen, within a millisecond of when it was written.
    pub at: Instant,
    /// What it tells.
    pub news: News,
}

/// Watches until dropped. Wakes only when a log grows, so that it hardly disturbs what it measures.
#[derive(Debug)]
pub struct LogWatch {
    learnt: Arc<Mutex<Vec<Learnt>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LogWatch {
    /// Watches the logs of these agents for news that is written from now on.
    ///
    /// # Panics
    ///
    /// When a log cannot be watched.
    pub fn start(agents: &[Agent], news: fn(&str) -> Option<News>) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC).expect("inotify is there on Linux");
        let tails = agents.iter().map(|agent| {
            let added = inotify::add_watch(&watch, &agent.log, WatchFlags::MODIFY);
            let id = added.unwrap_or_else(|error| panic!("{}: {error}", agent.log.display()));
            (id, Tail::at_end(&agent.key, &agent.log))
        });
        let tails: HashMap<_, _> = tails.collect();
        let learnt = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (learnt, stop) = (Arc::clone(&learnt), Arc::clone(&stop));
            move || follow(&watch, tails, news, &learnt, &stop)
        });
        Self {
            learnt,
            stop,
            thread: Some(thread),
        }
    }

    /// All news so far, in the order in which it came.
    pub fn learnt(&self) -> Vec<Learnt> {
        self.learnt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Who has learnt of the death of `key`, and when first.
    pub fn down(&self, key: &str) -> HashMap<String, Instant> {
        let mut first = HashMap::new();
        for learnt in self.learnt() {
            if learnt.news == News::Down(key.to_owned()) {
                first.entry(learnt.by).or_insert(learnt.at);
            }
        }
        first
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(
    watch: &OwnedFd,
    mut tails: HashMap<i32, Tail>,
    news: fn(&str) -> Option<News>,
    learnt: &Mutex<Vec<Learnt>>,
    stop: &AtomicBool,
) {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let wake_up = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    while !stop.load(Ordering::Relaxed) {
        // Without the time-out a watch over silent agents would never hear that it shall stop.
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&wake_up)), Ok(1)) {
            continue;
        }
        let at = now();
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        loop {
            let Ok(event) = reader.next() else { return };
            if let Some(tail) = tails.get_mut(&event.wd()) {
                let by = tail.key.clone();
                let mut learnt = learnt.lock().unwrap_or_else(PoisonError::into_inner);
                for line in tail.lines() {
                    learnt.extend(news(&line).map(|news| Learnt {
                        by: by.clone(),
                        at,
                        news,
                    }));
                }
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
    }
}

/// The end of a file, where lines are added.
#[derive(Debug)]
struct Tail {
    key: String,
    file: File,
    rest: Vec<u8>,
}

impl Tail {
    fn at_end(key: &str, log: &Path) -> Self {
        let mut file = File::open(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        file.seek(SeekFrom::End(0)).expect("a log is a file");
        Self {
            key: key.to_owned(),
            file,
            rest: Vec::new(),
        }
    }

    /// The lines that were completed since the last call.
    fn lines(&mut self) -> Vec<String> {
        let _ = self.file.read_to_end(&mut self.rest);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    #[test]
    fn news_is_stamped_when_it_is_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = dir.path().join("a.log");
        let mut file = File::create(&log).expect("created");
        writeln!(file, "dead old").expect("written");
        let agent = Agent {
            key: "a".into(),
            name: "a".into(),
            ip: String::new(),
            pid: 0,
            is_coordinator: false,
            is_leader: false,
            log,
            node: String::new(),
        };
        let news = |line: &str| {
            line.strip_prefix("dead ")
                .map(|key| News::Down(key.to_owned()))
        };
        let watch = LogWatch::start(&[agent], news);
        let before = now();
        write!(file, "nothing\ndead b").expect("written");
        writeln!(file, "ob\ndead bob").expect("written");
        let at = crate::until("it is seen", Duration::from_secs(5), || {
            watch
                .down("bob")
                .get("a")
                .copied()
                .ok_or_else(|| format!("{:?}", watch.learnt()))
        });
        assert!(at >= before && at <= now());
        assert!(
            watch.down("old").is_empty(),
            "what was there before is no news"
        );
    }
}
