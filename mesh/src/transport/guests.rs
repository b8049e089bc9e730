//! Operators that are connected: few, and in no table.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::link::CloseCode;
use crate::pki::Revocations;

/// The operators' connections, for as long as they last.
#[derive(Debug, Default)]
pub(super) struct Guests {
    present: Mutex<Vec<Guest>>,
}

/// An operator's connection.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) name: String,
    /// End of the operator's certificate, milliseconds since 1970.
    pub(super) not_after_ms: u64,
    pub(super) quic: quinn::Connection,
}

impl Guests {
    pub(super) fn arrive(&self, guest: Guest) {
        self.present().push(guest);
    }

    pub(super) fn leave(&self, quic: &quinn::Connection) {
        self.present()
            .retain(|guest| guest.quic.stable_id() != quic.stable_id());
    }

    /// Shows those out who have been revoked.
    pub(super) fn close_revoked(&self, revoked: &Revocations) {
        for guest in self.present().iter() {
            if revoked.operators.contains(&guest.name) {
                CloseCode::Revoked.close(&guest.quic, "revoked");
            }
        }
    }

    /// Shows those out whose certificate has run out.
    pub(super) fn close_expired(&self, now_ms: u64) {
        for guest in self.present().iter() {
            if guest.not_after_ms < now_ms {
                CloseCode::Expired.close(&guest.quic, "the certificate has run out");
            }
        }
    }

    fn present(&self) -> MutexGuard<'_, Vec<Guest>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
