//! Whether the agent is of use to others yet, as a set of latches that each part of the start-up releases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ready when every latch that was taken has been released. Cheap to clone.
///
/// ```
/// use muster::observe::readiness::Readiness;
///
/// let readiness = Readiness::default();
/// let joined = readiness.latch("joining the mesh");
/// assert_eq!(readiness.waiting_for(), ["joining the mesh"]);
/// drop(joined);
/// assert!(readiness.is_ready());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

/// Something that has to happen before the agent is ready. Dropping it says that it has.
#[derive(Debug)]
#[must_use = "dropping the latch releases it"]
pub struct Latch {
    what: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Takes a latch; `what` says what is waited for, such as `joining the mesh`.
    pub fn latch(&self, what: &'static str) -> Latch {
        *self.lock().entry(what).or_default() += 1;
        Latch {
            what,
            readiness: self.clone(),
        }
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// What is waited for, in alphabetical order.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // The map is whole after every statement that holds the lock, so a panic elsewhere spoils nothing.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        let mut waiting = self.readiness.lock();
        if let Some(count) = waiting.get_mut(self.what) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latch_counts_even_by_the_same_name() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (first, second) = (readiness.latch("seeds"), readiness.latch("seeds"));
        let third = readiness.latch("log");
        drop(first);
        assert_eq!(readiness.waiting_for(), ["log", "seeds"]);
        drop(third);
        drop(second);
        assert!(readiness.is_ready());
        let stopping = readiness.latch("stopping");
        assert!(!readiness.is_ready(), "it can become unready again");
        drop(stopping);
    }
}
