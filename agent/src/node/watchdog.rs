//! The hardware watchdog: resets the machine when a leased workload can't be stopped, or nothing runs any more that could.
//!
//! It is fed while the workload may run, and while none does. Where a lease has ended and the workload is not known to be
//! stopped, it is not fed, and bites within its own time. Its device has to have been told that time by whoever loaded its
//! driver (`softdog soft_margin=3`, or the firmware): it has to be within the group's `stop_within`, and what a machine waits
//! for is said in its log where it is not.
//!
//! It is the first thing that an agent begins and the last that it ends: while a workload goes on under its guard, the next
//! life of the agent has only the watchdog's own time to feed it again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_mesh::clock::boot_ms;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::guard::{Ending, Guard};

/// How often a watchdog is fed that does not say how long it waits. The shortest time that drivers allow is a second.
const PERIOD: Duration = Duration::from_millis(300);

/// How often at least, however long it waits.
const PERIOD_MAX: Duration = Duration::from_secs(2);

/// How often processes are looked through again that nothing was found among.
const SEARCH_PERIOD: Duration = Duration::from_secs(3);

/// How often opening the device is tried again that is not there. One that another program holds is tried as often as it is
/// fed: that may be an earlier life of the agent, which is about to end.
const OPEN_PERIOD: Duration = Duration::from_secs(30);

/// What a leased workload may be doing on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Footing {
    /// Nothing: none was started since the machine booted, or it was stopped.
    Nothing,
    /// It may run.
    Runs {
        /// Until when it has got its lease, in milliseconds since the boot.
        until_ms: u64,
        /// How long stopping may take, in milliseconds.
        stop_ms: u64,
    },
    /// The guard's file can't be read.
    Unknown {
        /// Whether there is a guard, or a process of its workload.
        found: bool,
    },
}

/// Where what a leased workload may be doing is looked up.
trait Ground: Send {
    /// What it may be doing now.
    fn footing(&mut self) -> impl Future<Output = Footing> + Send;
}

/// Looks at what the guard's file says, which whoever lived last has written.
struct Look {
    guard: Guard,
    /// When processes were last looked through in vain.
    searched: Option<Instant>,
}

impl Look {
    fn new(guard: Guard) -> Self {
        Self {
            guard,
            searched: None,
        }
    }

    /// Whether there is a guard, or a process of its workload. A busy machine has thousands to look through, which must not
    /// keep the agent from anything else.
    async fn finds(&mut self) -> bool {
        if self.searched.is_some_and(|at| at.elapsed() < SEARCH_PERIOD) {
            return false;
        }
        let guard = self.guard.clone();
        let found = tokio::task::spawn_blocking(move || guard.may_run()).await;
        let found = found.unwrap_or(true);
        self.searched = (!found).then(Instant::now);
        found
    }
}

impl Ground for Look {
    async fn footing(&mut self) -> Footing {
        match self.guard.standing() {
            Ok(Some(standing)) if standing.ending != Ending::Stopped => Footing::Runs {
                until_ms: standing.until_ms,
                stop_ms: standing.stop_ms,
            },
            Ok(_) => Footing::Nothing,
            Err(_) => Footing::Unknown {
                found: self.finds().await,
            },
        }
    }
}

/// Until when what runs may run, from one look to the next.
#[derive(Debug, Default)]
struct Term {
    /// In milliseconds since the boot; `None` while nothing runs.
    until_ms: Option<u64>,
}

impl Term {
    /// Takes in how it stands, and says whether nothing runs that must not.
    fn is_kept(&mut self, footing: Footing, now_ms: u64) -> bool {
        match footing {
            Footing::Nothing => self.until_ms = None,
            Footing::Runs { until_ms, .. } => self.until_ms = Some(until_ms),
            // What was known before goes on to hold. Where nothing was, its lease may be over already: the guard is told to
            // stop it, and the watchdog leaves it the time for that, and no more.
            Footing::Unknown { found } => {
                return !found || self.until_ms.is_some_and(|until_ms| now_ms < until_ms);
            }
        }
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }
}

/// Something that resets the machine unless it is fed.
pub(super) trait Watchdog: Send {
    /// Puts it off for once more its time.
    ///
    /// # Errors
    /// When it could not be fed.
    fn feed(&mut self) -> io::Result<()>;

    /// Tells it not to bite any more, because the agent stops on purpose.
    ///
    /// # Errors
    /// When it could not be told: then it will.
    fn disarm(&mut self) -> io::Result<()>;
}

/// A watchdog device of Linux: any byte feeds it, and a `V` before it is closed disarms it.
pub(super) struct Device(File);

impl Device {
    fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).open(path).map(Self)
    }
}

impl Watchdog for Device {
    fn feed(&mut self) -> io::Result<()> {
        self.0.write_all(&[0])
    }

    fn disarm(&mut self) -> io::Result<()> {
        self.0.write_all(b"V")
    }
}

/// The configured watchdog, if there is one, while it is looked after.
pub(super) struct Care {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Care {
    /// Begins to feed a device, for a guard whose files lie in `directory`.
    pub(super) fn begin(device: Option<PathBuf>, directory: &Path) -> Self {
        let stop = CancellationToken::new();
        let guard = Guard::in_directory(directory);
        let task = tokio::spawn(feed(device, guard, stop.clone()));
        Self { stop, task }
    }

    /// Disarms the device where nothing needs it, and lets go of it.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "looking after the watchdog has failed");
        }
    }
}

async fn feed(device: Option<PathBuf>, guard: Guard, stop: CancellationToken) {
    let Some(path) = device else { return };
    let opened = tokio::select! {
        () = stop.cancelled() => return,
        opened = open(&path) => opened,
    };
    let timeout = timeout_of(&path);
    tracing::info!(device = %path.display(), ?timeout, "the watchdog is armed");
    serve(opened, stop.cancelled(), Look::new(guard), timeout).await;
}

async fn open(path: &Path) -> Device {
    let mut said = String::new();
    loop {
        let error = match Device::open(path) {
            Ok(device) => return device,
            Err(error) => error,
        };
        let why = error.to_string();
        if why != said {
            let device = path.display();
            tracing::error!(%device, %error, "the watchdog can't be used; trying again");
            said = why;
        }
        tokio::time::sleep(opened_again(&error)).await;
    }
}

fn opened_again(error: &io::Error) -> Duration {
    match error.kind() {
        io::ErrorKind::ResourceBusy => PERIOD,
        _ => OPEN_PERIOD,
    }
}

/// Feeds a watchdog as long as the machine's footing allows, and disarms it in the end if it does then.
async fn serve(
    mut watchdog: impl Watchdog,
    stopped: impl Future<Output = ()>,
    mut ground: impl Ground,
    timeout: Option<Duration>,
) {
    let period = period(timeout);
    let mut stopped = std::pin::pin!(stopped);
    let (mut starved, mut compared, mut term) = (false, None, Term::default());
    loop {
        let now = ground.footing().await;
        let safe = term.is_kept(now, boot_ms());
        if starved == safe {
            starved = !safe;
            if starved {
                tracing::error!(
                    "the workload outlives its lease; the watchdog is not fed any more"
                );
            }
        }
        if safe && let Err(error) = watchdog.feed() {
            tracing::error!(%error, "the watchdog was not fed");
        }
        if let Footing::Runs { stop_ms, .. } = now
            && compared != Some(stop_ms)
        {
            compared = Some(stop_ms);
            let within = Duration::from_millis(stop_ms);
            if let Some(takes) = timeout.filter(|takes| *takes > within) {
                tracing::error!(
                    ?takes,
                    ?within,
                    "the watchdog bites later than the group's `stop_within`: set it shorter where its driver is loaded"
                );
            }
        }
        tokio::select! {
            () = &mut stopped => break,
            () = tokio::time::sleep(period) => {}
        }
    }
    // A workload that goes on under its guard needs the watchdog no less than before.
    if matches!(ground.footing().await, Footing::Nothing)
        && let Err(error) = watchdog.disarm()
    {
        tracing::error!(%error, "the watchdog could not be disarmed");
    }
}

/// How often a device is fed: three times in the time that it waits. When it bites does not depend on it: that is as long as
/// it waits after it was fed last, which was before the lease ended.
fn period(timeout: Option<Duration>) -> Duration {
    timeout.map_or(PERIOD, |timeout| (timeout / 3).clamp(PERIOD, PERIOD_MAX))
}

/// How long the device waits to be fed, as the kernel says; `None` where it does not.
fn timeout_of(path: &Path) -> Option<Duration> {
    let name = std::fs::canonicalize(path).ok()?;
    let name = match name.file_name()?.to_str()? {
        // The old name of the first one.
        "watchdog" => "watchdog0",
        name => name,
    }
    .to_owned();
    let file: PathBuf = ["/sys/class/watchdog", &name, "timeout"].iter().collect();
    let seconds = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Clone, Default)]
    struct Fake {
        fed: Arc<AtomicU32>,
        disarmed: Arc<AtomicU32>,
    }

    impl Watchdog for Fake {
        fn feed(&mut self) -> io::Result<()> {
            self.fed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn disarm(&mut self) -> io::Result<()> {
            self.disarmed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    impl Ground for Footing {
        async fn footing(&mut self) -> Footing {
            *self
        }
    }

    /// How often it is fed in ten seconds on that footing, and whether it is disarmed in the end.
    async fn fed(footing: Footing) -> (u32, bool) {
        let fake = Fake::default();
        let stopped = tokio::time::sleep(Duration::from_secs(10));
        serve(fake.clone(), stopped, footing, None).await;
        let disarmed = fake.disarmed.load(Ordering::Relaxed) > 0;
        (fake.fed.load(Ordering::Relaxed), disarmed)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_fed_while_the_workload_may_run_or_none_does_and_starves_otherwise() {
        let (many, disarmed) = fed(Footing::Nothing).await;
        assert!(many > 30 && disarmed, "{many}");
        let until_ms = boot_ms() + 3_600_000;
        let runs = |until_ms| Footing::Runs {
            until_ms,
            stop_ms: 3000,
        };
        let (many, disarmed) = fed(runs(until_ms)).await;
        assert!(many > 30, "{many}");
        assert!(!disarmed, "its workload goes on, and the agent does not");
        assert_eq!(fed(runs(1)).await, (0, false));
        let unknown = |found| Footing::Unknown { found };
        assert_eq!(
            fed(unknown(true)).await,
            (0, false),
            "its lease may be over"
        );
        let (many, disarmed) = fed(unknown(false)).await;
        assert!(many > 30 && !disarmed, "nothing runs");
    }

    #[test]
    fn a_file_that_can_not_be_read_does_not_say_that_nothing_runs() {
        let runs = Footing::Runs {
            until_ms: 5000,
            stop_ms: 3000,
        };
        let unread = |found| Footing::Unknown { found };
        let mut term = Term::default();
        assert!(term.is_kept(runs, 1000));
        assert!(term.is_kept(unread(true), 4999), "what was known holds");
        assert!(!term.is_kept(unread(true), 5000));
        assert!(term.is_kept(unread(false), 5000), "nothing is left");
        let mut term = Term::default();
        assert!(!term.is_kept(unread(true), 1000), "nothing was known");
        assert!(term.is_kept(unread(false), 1001));
        assert!(term.is_kept(Footing::Nothing, 1002));
    }

    #[tokio::test]
    async fn what_is_left_is_looked_for_only_while_the_file_can_not_be_read_and_not_all_the_time() {
        let directory = tempfile::tempdir().expect("made");
        let mut look = Look::new(Guard::in_directory(directory.path()));
        assert_eq!(look.footing().await, Footing::Nothing);
        assert_eq!(look.searched, None);
        std::fs::write(directory.path().join("lease"), "{").expect("written");
        let unknown = Footing::Unknown { found: false };
        assert_eq!(look.footing().await, unknown);
        let searched = look.searched.expect("nothing was found");
        assert_eq!(look.footing().await, unknown);
        assert_eq!(look.searched, Some(searched), "that was a moment ago");
    }

    #[test]
    fn it_is_fed_three_times_in_the_time_that_it_waits() {
        let period = |ms| period(Some(Duration::from_millis(ms))).as_millis();
        assert_eq!(
            [100, 1000, 3000, 60_000].map(period),
            [300, 333, 1000, 2000]
        );
        assert_eq!(super::period(None), PERIOD);
    }

    #[test]
    fn a_device_that_an_earlier_life_holds_is_had_as_soon_as_that_ends() {
        let busy = io::Error::from(io::ErrorKind::ResourceBusy);
        assert_eq!(opened_again(&busy), PERIOD);
        let missing = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(opened_again(&missing), OPEN_PERIOD);
    }

    #[tokio::test]
    async fn it_is_looked_after_until_the_very_end() {
        let directory = tempfile::tempdir().expect("made");
        let device = directory.path().join("watchdog");
        std::fs::write(&device, "").expect("made");
        let care = Care::begin(Some(device.clone()), directory.path());
        while std::fs::read(&device).expect("read").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        care.end().await;
        let fed = std::fs::read(&device).expect("read");
        assert_eq!(fed.last(), Some(&b'V'), "nothing needs it any more");
        Care::begin(None, directory.path()).end().await;
    }

    #[test]
    fn a_device_is_fed_by_any_byte_and_disarmed_by_a_letter() {
        let file = tempfile::NamedTempFile::new().expect("made");
        let mut device = Device::open(file.path()).expect("opened");
        device.feed().expect("fed");
        device.feed().expect("fed");
        device.disarm().expect("disarmed");
        assert_eq!(std::fs::read(file.path()).expect("read"), [0, 0, b'V']);
        assert_eq!(timeout_of(file.path()), None);
    }
}
