//! Requests that concern the mesh task, and those that it only passes on.

use muster_mesh::transport::{InboundRequest, PeerIdentity, StreamKind};
use tokio::sync::mpsc::error::TrySendError;

use super::{EXCHANGE_DEADLINE, Input, MeshTask, records};

impl MeshTask {
    /// Takes an inbound request. Exchanges of tables and records are answered from the cores; everything else goes to
    /// the node, which must not hold up the mesh: when it is too busy to take a request, the asker is told so.
    pub(super) fn take_request(&mut self, request: InboundRequest) {
        match request.kind {
            StreamKind::MEMBERSHIP => self.answer_table(request),
            StreamKind::RECORDS => self.answer_records(request),
            _ => match self.requests.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request) | TrySendError::Closed(request)) => {
                    tokio::spawn(request.responder.fail("this machine is too busy"));
                }
            },
        }
    }

    fn answer_table(&mut self, request: InboundRequest) {
        let PeerIdentity::Machine(from) = request.from else {
            tokio::spawn(request.responder.fail("only machines exchange tables"));
            return;
        };
        let now = self.clock.now();
        if let Err(error) = self.membership.handle_full_state(now, from, &request.body) {
            tracing::debug!(%from, %error, "refused a table");
            tokio::spawn(request.responder.fail("that is not a table"));
            return;
        }
        let ours = self.membership.full_state();
        tokio::spawn(request.responder.reply(ours));
    }

    fn answer_records(&mut self, request: InboundRequest) {
        if !matches!(request.from, PeerIdentity::Machine(_)) {
            tokio::spawn(request.responder.fail("only machines exchange records"));
            return;
        }
        match self.records.handle_pull(&request.body) {
            Ok(records) => {
                tokio::spawn(request.responder.reply(records));
            }
            Err(_) => {
                tokio::spawn(request.responder.fail("that is no question for records"));
            }
        }
    }

    /// Fetches records that this machine lacks.
    pub(super) fn pull_records(&self, pull: records::Command) {
        let records::Command::Pull { from, request } = pull;
        let inbox = self.own_inbox.clone();
        let transport = self.transport.clone();
        tokio::spawn(async move {
            let asked = transport.request(from, StreamKind::RECORDS, request, EXCHANGE_DEADLINE);
            let answer = asked
                .await
                .inspect_err(|error| tracing::debug!(%from, %error, "could not fetch records"))
                .ok();
            let _ = inbox.send(Input::RecordsGot { from, answer }).await;
        });
    }
}
