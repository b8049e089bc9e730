//! Timers for tasks that set theirs anew with every packet: one timer of the kernel for all of them.
//!
//! The runtime's own timers are made for a busy process. An idle one they wake two or three times for each deadline that
//! is further off than 64 ms (once for each level of their wheel), once more for each that was moved to later, and each
//! that comes before all others costs it a write to itself. In an agent that did nothing but probe, half of all
//! wake-ups had no other reason. Here a deadline costs one wake-up when it has come, and none when it was taken back.
//! One that may be met a little later mostly costs none at all: it is met when the process is awake anyway.

#[cfg_attr(target_os = "linux", path = "alarms/timerfd.rs")]
#[cfg_attr(not(target_os = "linux"), path = "alarms/sleep.rs")]
mod kernel;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::kernel::KernelTimer;

/// All alarms of one runtime. Cheap to clone; the task behind it ends when the last clone and the last alarm are gone.
#[derive(Debug, Clone)]
pub struct Alarms(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// Tells the task that another alarm has become the earliest.
    moved: Notify,
}

/// Which alarms are set and waited for. As many as there are connections and a few more, since each task has its own.
#[derive(Debug, Default)]
struct Table {
    waiting: BTreeMap<(Instant, u64), Waker>,
    /// Those that have slack, by the end of it, with the time from which on they may go off.
    loose: BTreeMap<(Instant, u64), (Instant, Waker)>,
    /// What the kernel's timer is set to.
    armed: Option<Instant>,
    last_id: u64,
}

impl Table {
    fn earliest(&self) -> Option<Instant> {
        let strict = self.waiting.first_key_value().map(|((at, _), _)| *at);
        let loose = self.loose.first_key_value().map(|((end, _), _)| *end);
        strict.into_iter().chain(loose).min()
    }

    /// Takes out whom it concerns that it is `now`.
    fn take_due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        self.loose.retain(|_, (at, waker)| {
            let rests = *at > now;
            if !rests {
                due.push(waker.clone());
            }
            rests
        });
        due
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes who waits for what, and has the kernel's timer set again where that changes the earliest. What is taken
    /// out is given back, because a waker may own what must not be dropped under the lock.
    fn change<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        let mut table = self.table();
        let taken_out = change(&mut table);
        if table.earliest() != table.armed {
            self.moved.notify_one();
        }
        taken_out
    }
}

impl Alarms {
    /// Makes the kernel's timer and starts the task that watches it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the operating system has no timer to give: too many open files.
    pub fn start() -> io::Result<Self> {
        let timer = KernelTimer::new()?;
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        tokio::spawn(run(Arc::clone(&shared), timer, stop.clone()));
        Ok(Self(Arc::new(Owner {
            shared,
            _stop: stop.drop_guard(),
        })))
    }

    /// An alarm that is not set.
    pub fn alarm(&self) -> Alarm {
        let mut table = self.0.shared.table();
        table.last_id += 1;
        Alarm {
            id: table.last_id,
            at: None,
            slack: Duration::ZERO,
            waits: false,
            alarms: self.clone(),
        }
    }

    /// Sleeps for `pause`, and up to a quarter longer if nothing else wakes this process in between.
    pub async fn doze(&self, pause: Duration) {
        let mut alarm = self.alarm();
        alarm.slack = pause / 4;
        alarm.set(Some(Instant::now() + pause));
        alarm.rings().await;
    }
}

/// Sets the kernel's timer to the earliest alarm, and wakes whom it concerns when that has come.
async fn run(shared: Arc<Shared>, mut timer: KernelTimer, stop: CancellationToken) {
    loop {
        let now = Instant::now();
        let due;
        {
            let mut table = shared.table();
            due = table.take_due(now);
            let earliest = table.earliest();
            if table.armed != earliest {
                table.armed = earliest;
                timer.set(earliest.map(|at| at.saturating_duration_since(now)));
            }
        }
        due.into_iter().for_each(Waker::wake);
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.moved.notified() => {}
            () = timer.rings() => shared.table().armed = None,
        }
    }
}

/// One alarm. Goes off once after it was set; set it again for another time.
#[derive(Debug)]
pub struct Alarm {
    id: u64,
    at: Option<Instant>,
    /// How much later it may go off.
    slack: Duration,
    /// Whether it is in the table.
    waits: bool,
    alarms: Alarms,
}

impl Alarm {
    /// Sets it to another time; `None` for never.
    pub fn set(&mut self, at: Option<Instant>) {
        if self.at != at {
            self.leave();
            self.at = at;
        }
    }

    /// Waits until it goes off. Whoever waits for it again without setting it gets an answer at once.
    pub async fn rings(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Ready when its time has come; else the task is woken then.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            self.leave();
            return Poll::Ready(());
        }
        let (key, waker) = ((at + self.slack, self.id), cx.waker());
        self.waits = true;
        let is_loose = !self.slack.is_zero();
        let _former = self.alarms.0.shared.change(|table| {
            let known = match table.loose.get(&key) {
                Some((_, known)) => Some(known),
                None => table.waiting.get(&key),
            };
            if known.is_some_and(|known| known.will_wake(waker)) {
                return None;
            }
            if is_loose {
                let former = table.loose.insert(key, (at, waker.clone()));
                return former.map(|(_, waker)| waker);
            }
            table.waiting.insert(key, waker.clone())
        });
        Poll::Pending
    }

    /// Takes it out of the table.
    fn leave(&mut self) {
        if let Some(at) = self.at.filter(|_| self.waits) {
            let key = (at + self.slack, self.id);
            let _wakers = (self.alarms.0.shared)
                .change(|table| (table.waiting.remove(&key), table.loose.remove(&key)));
        }
        self.waits = false;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LATER: Duration = Duration::from_secs(3600);

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    #[tokio::test]
    async fn alarms_go_off_in_their_order_and_not_before_their_time() {
        let alarms = Alarms::start().unwrap();
        let (mut first, mut second) = (alarms.alarm(), alarms.alarm());
        let at = Instant::now() + Duration::from_millis(20);
        second.set(Some(at + Duration::from_millis(20)));
        first.set(Some(at));
        tokio::select! {
            () = first.rings() => assert!(Instant::now() >= at),
            () = second.rings() => panic!("the later one came first"),
        }
        second.rings().await;
        assert!(Instant::now() >= at + Duration::from_millis(20));
    }

    #[tokio::test]
    async fn an_alarm_that_was_moved_keeps_to_its_new_time_only() {
        let alarms = Alarms::start().unwrap();
        let (mut moved, mut other) = (alarms.alarm(), alarms.alarm());
        moved.set(soon());
        assert!(moved.rings().now_or_never().is_none());
        moved.set(Some(Instant::now() + LATER));
        other.set(soon());
        tokio::select! {
            () = moved.rings() => panic!("it went off at its former time"),
            () = other.rings() => {}
        }
        moved.set(soon());
        moved.rings().await;
        moved.set(None);
        assert!(moved.rings().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_dozes_is_woken_with_others_or_at_the_end_of_the_slack() {
        let alarms = Alarms::start().unwrap();
        let start = Instant::now();
        let (pause, slack) = (Duration::from_millis(40), Duration::from_millis(10));
        alarms.doze(pause).await;
        assert!(start.elapsed() >= pause + slack, "nothing else woke it");

        let mut other = alarms.alarm();
        other.set(Some(Instant::now() + Duration::from_millis(20)));
        let mut long = Box::pin(alarms.doze(Duration::from_millis(10) + LATER));
        let mut short = Box::pin(async {
            let mut loose = alarms.alarm();
            loose.slack = LATER;
            loose.set(Some(Instant::now() + Duration::from_millis(10)));
            loose.rings().await;
        });
        assert!(futures::poll!(&mut long).is_pending() && futures::poll!(&mut short).is_pending());
        other.rings().await;
        short.await;
        assert!(long.now_or_never().is_none(), "its time has not come");
    }

    #[tokio::test]
    async fn a_taken_back_alarm_leaves_nothing_behind_and_the_task_ends_with_the_last_handle() {
        let alarms = Alarms::start().unwrap();
        let shared = Arc::clone(&alarms.0.shared);
        let mut alarm = alarms.alarm();
        alarm.set(Some(Instant::now() + LATER));
        assert!(alarm.rings().now_or_never().is_none());
        assert!(alarms.doze(LATER).now_or_never().is_none());
        assert_eq!(shared.table().waiting.len(), 1);
        assert_eq!(shared.table().loose.len(), 0);
        drop(alarms);
        drop(alarm);
        assert_eq!(shared.table().waiting.len(), 0);
        while Arc::strong_count(&shared) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
