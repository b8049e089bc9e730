//! Timers for tasks that set theirs anew with every packet: one timer of the kernel for all of them.
//!
//! The runtime's own timers are made for a busy process. An idle one they wake two or three times for each deadline that
//! is further off than 64 ms (once for each level of their wheel), once more for each that was moved to later, and each
//! that comes before all others costs it a write to itself. In an agent that did nothing but probe, half of all
//! wake-ups had no other reason. Here a deadline costs one wake-up when it has come, and none when it was taken back.

#[cfg_attr(target_os = "linux", path = "alarms/timerfd.rs")]
#[cfg_attr(not(target_os = "linux"), path = "alarms/sleep.rs")]
mod kernel;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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
    /// What the kernel's timer is set to.
    armed: Option<Instant>,
    last_id: u64,
}

impl Table {
    fn earliest(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
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
            waits: false,
            alarms: self.clone(),
        }
    }
}

/// Sets the kernel's timer to the earliest alarm, and wakes whom it concerns when that has come.
async fn run(shared: Arc<Shared>, mut timer: KernelTimer, stop: CancellationToken) {
    loop {
        let now = Instant::now();
        let mut due = Vec::new();
        {
            let mut table = shared.table();
            while table.earliest().is_some_and(|at| at <= now) {
                due.extend(table.waiting.pop_first().map(|(_, waker)| waker));
            }
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
        let (key, waker) = ((at, self.id), cx.waker());
        self.waits = true;
        let _former = self.alarms.0.shared.change(|table| {
            let known = table.waiting.get(&key);
            if known.is_some_and(|known| known.will_wake(waker)) {
                return None;
            }
            table.waiting.insert(key, waker.clone())
        });
        Poll::Pending
    }

    /// Takes it out of the table.
    fn leave(&mut self) {
        if let Some(at) = self.at.filter(|_| self.waits) {
            let key = (at, self.id);
            let _waker = (self.alarms.0.shared).change(|table| table.waiting.remove(&key));
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
    use std::time::Duration;

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
    async fn a_taken_back_alarm_leaves_nothing_behind_and_the_task_ends_with_the_last_handle() {
        let alarms = Alarms::start().unwrap();
        let shared = Arc::clone(&alarms.0.shared);
        let mut alarm = alarms.alarm();
        alarm.set(Some(Instant::now() + LATER));
        assert!(alarm.rings().now_or_never().is_none());
        assert_eq!(shared.table().waiting.len(), 1);
        drop(alarms);
        drop(alarm);
        assert_eq!(shared.table().waiting.len(), 0);
        while Arc::strong_count(&shared) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
