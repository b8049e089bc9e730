//! Telling a peer that does not answer from one that was not asked. Pure.

use super::limits::SILENT_ROUNDS_MAX;

/// What was seen of one connection, round by round.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Packets received, and questions sent by then, when something was last received.
    received: u64,
    asked: u64,
    /// Rounds since then in which a question was open.
    rounds: u32,
}

impl Silence {
    /// One round: whether the peer has left questions open for so long that it is lost.
    ///
    /// `received` counts packets; `asked` counts what QUIC peers acknowledge, not packets: this side's own
    /// acknowledgements, say, nobody answers.
    pub(super) fn observe(&mut self, received: u64, asked: u64) -> bool {
        if received != self.received {
            *self = Self {
                received,
                asked,
                rounds: 0,
            };
        } else if asked > self.asked {
            self.rounds += 1;
        }
        self.rounds >= SILENT_ROUNDS_MAX
    }
}

/// How often a connection sent something that its peer must acknowledge. Frames that only ever travel with others, or
/// only during the handshake, are left out.
pub(super) fn asked(sent: &quinn::FrameStats) -> u64 {
    sent.datagram + sent.stream + sent.ping + sent.reset_stream + sent.stop_sending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_not_silent() {
        let mut silence = Silence::default();
        for _ in 0..100 {
            assert!(!silence.observe(5, 3));
        }
    }

    #[test]
    fn open_questions_count_until_something_is_heard() {
        let mut silence = Silence::default();
        assert!(!silence.observe(5, 3));
        assert!(!silence.observe(5, 4));
        assert!(!silence.observe(6, 4), "heard just in time");
        assert!(!silence.observe(6, 4));
        assert!(!silence.observe(6, 5));
        assert!(silence.observe(6, 5));
    }
}
