//! The figures of the mesh: transport, membership, records.

use muster_mesh::{membership, records, transport};

use super::{Export, Exposition};

/// Implements [`Export`] for a struct of figures, one metric per field, named after it.
macro_rules! export {
    ($type:ty, $prefix:literal,
     counters: { $($counter:ident: $counter_help:literal,)* },
     gauges: { $($gauge:ident: $gauge_help:literal,)* }) => {
        impl Export for $type {
            fn export(&self, out: &mut Exposition) {
                $(out.counter(concat!($prefix, stringify!($counter), "_total"), $counter_help, self.$counter);)*
                $(out.gauge(concat!($prefix, stringify!($gauge)), $gauge_help, self.$gauge as f64);)*
            }
        }
    };
}

export! {
    transport::TransportStats, "muster_transport_",
    counters: {
        packets_out: "UDP datagrams sent.",
        packets_in: "UDP datagrams received.",
        bytes_out: "Bytes in UDP datagrams sent, without UDP and IP headers.",
        bytes_in: "Bytes in UDP datagrams received, without UDP and IP headers.",
        packets_unsent: "UDP datagrams that the kernel did not take.",
        handshakes_out: "Handshakes completed as the dialling side.",
        handshakes_in: "Handshakes completed as the listening side.",
        handshakes_out_failed: "Handshakes failed as the dialling side.",
        handshakes_in_failed: "Handshakes failed or refused as the listening side.",
        handshakes_retried: "Incoming handshakes that had to prove their address first.",
        connections_lost: "Connections that ended without either side wanting it.",
        connections_evicted: "Connections closed to make room for others.",
        datagrams_out: "Datagrams handed to a connection.",
        datagrams_in: "Datagrams received and handed to the agent.",
        datagrams_dropped_queue: "Datagrams not sent because a newer one needed their place.",
        datagrams_dropped_unreachable: "Datagrams not sent because the peer could not be reached.",
        datagrams_dropped_size: "Datagrams not sent because they were too long or empty.",
        datagrams_dropped_inbound: "Datagrams dropped because the agent did not keep up.",
        requests_in: "Requests received and handed to the agent.",
        requests_refused: "Requests received and refused.",
        requests_out: "Requests made.",
        icmp_errors: "ICMP errors about packets sent.",
    },
    gauges: {
        connections: "Connections with members that are open.",
        dials: "Handshakes that this side has under way.",
    }
}

export! {
    membership::Stats, "muster_membership_",
    counters: {
        datagrams_out: "Datagrams produced.",
        bytes_out: "Bytes of datagrams produced, without the transport's framing.",
        datagrams_in: "Datagrams accepted.",
        malformed: "Datagrams and state transfers that do not decode.",
        spoofed: "Datagrams whose claimed sender is not the authenticated one.",
        refused_full: "Datagrams ignored because a limit was reached.",
        transmits_dropped: "Datagrams dropped because they were not fetched.",
        probes: "Probes begun.",
        probes_failed: "Probes that no path answered.",
        pings_repeated: "Pings repeated for want of an answer.",
        checks: "Port checks asked for.",
        suspicions: "Suspicions raised by this member.",
        refutations: "Suspicions of anybody that were refuted.",
        postponed: "Verdicts put off because the suspect gave signs of life.",
        stale_timers: "Ends of suspicions not delivered because the suspect had refuted.",
        verdicts: "Deaths that this member declared.",
        self_suspected: "Times that this member objected to a suspicion of itself.",
        renewals: "Times that this member asked for a new generation.",
        late_wakes: "Wake-ups that came too late to judge anybody.",
        hashes_out: "Table hashes sent.",
        pulls: "State transfers asked for.",
        rejoins: "Attempts to reach machines believed dead.",
    },
    gauges: {
        health_score: "Local health score: 0 is well, 8 the worst.",
        loss: "Measured share of pings that needed a repetition, 0 to 1.",
        backlog: "Updates that are being passed on.",
    }
}

export! {
    records::Stats, "muster_records_",
    counters: {
        datagrams_out: "Datagrams produced.",
        bytes_out: "Bytes of datagrams produced, without the transport's framing.",
        datagrams_in: "Datagrams accepted.",
        entries_new: "Entries received that were news.",
        entries_known: "Entries received that were known already.",
        entries_unknown: "Entries about lives that the membership does not know.",
        malformed: "Datagrams and answers that do not decode.",
        unverified: "Signed records that did not verify.",
        pulls: "Pulls asked for.",
        pull_bytes_out: "Bytes answered to others' pulls.",
        hashes_out: "Hashes sent.",
        hashes_differed: "Hashes received that differed from ours.",
    },
    gauges: {}
}
