//! Work that a leader has under way without waiting for it: each piece in a task of its own, known by a key.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{self, JoinSet};

/// Pieces of work under way. Dropping it ends them all.
pub(super) struct Background<K, V> {
    tasks: JoinSet<V>,
    keys: HashMap<task::Id, K>,
}

impl<K, V> Default for Background<K, V> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            keys: HashMap::new(),
        }
    }
}

impl<K: PartialEq, V: Send + 'static> Background<K, V> {
    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether the work of this key is under way.
    pub(super) fn has(&self, key: &K) -> bool {
        self.keys.values().any(|other| other == key)
    }

    /// Starts a piece of work.
    pub(super) fn start(&mut self, key: K, work: impl Future<Output = V> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.keys.insert(task.id(), key);
    }

    /// The next result, once there is one; `None` in place of one that a defect cost us. `None` while nothing is under
    /// way.
    pub(super) async fn next(&mut self) -> Option<(K, Option<V>)> {
        loop {
            let (id, result) = match self.tasks.join_next_with_id().await? {
                Ok((id, result)) => (id, Some(result)),
                Err(error) => {
                    // A defect in one must not keep others from being carried out, nor itself from being tried anew.
                    tracing::error!(%error, "a task of the leader ended badly");
                    (error.id(), None)
                }
            };
            if let Some(key) = self.keys.remove(&id) {
                return Some((key, result));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_piece_that_ends_badly_can_be_started_again() {
        let mut background = Background::default();
        background.start("bad", async { panic!("a defect, for the test") });
        assert!(background.has(&"bad"));
        assert_eq!(background.next().await, Some(("bad", None)));
        background.start("bad", async { 7 });
        assert_eq!(background.next().await, Some(("bad", Some(7))));
        assert_eq!(background.next().await, None);
    }
}
