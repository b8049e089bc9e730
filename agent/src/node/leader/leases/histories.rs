//! Histories of one pet's lease: leaders come and go, questions and answers are lost or late, machines stand still for
//! minutes, and clocks go at their own pace. Whenever a leader takes a lease to be over, the workload must not run.

use std::time::Duration;

use muster_mesh::consensus::LogGeneration;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const TERMS: LeaseTerms = LeaseTerms {
    lease_ms: 12_000,
    stop_ms: 3_000,
};
const STEP_MS: u64 = 100;
const HISTORY_MS: u64 = 1_000_000;
const SEEDS: u64 = 300;

/// What a leader waits for before it starts a successor.
type Waits = LeaseTerms;

/// A question on its way, or an answer.
struct Message {
    at_ms: u64,
    sent_ms: u64,
}

/// A question that a leader has been permitted to answer, and answers a while later, deposed or not.
struct Permitted {
    at_ms: u64,
    sent_ms: u64,
    leases: Arc<Leases>,
    /// Once it is deposed: whether it had decided to replace the machine by then.
    deposed: Option<bool>,
}

struct History {
    random: StdRng,
    now_ms: u64,
    /// How fast the machine's clock goes.
    rate: f64,
    /// Until when the machine stands still.
    still_ms: u64,
    next_ask_ms: u64,
    until_ms: u64,
    questions: Vec<Message>,
    permitted: Vec<Permitted>,
    answers: Vec<Message>,
    leases: Option<Arc<Leases>>,
    next_leader_ms: u64,
    fenced: bool,
    refused: bool,
}

impl History {
    fn new(seed: u64, rates: (f64, f64)) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let rate = random.random_range(rates.0..rates.1);
        Self {
            random,
            now_ms: 0,
            rate,
            still_ms: 0,
            next_ask_ms: 0,
            until_ms: 0,
            questions: Vec::new(),
            permitted: Vec::new(),
            answers: Vec::new(),
            leases: Some(Arc::new(Leases::new())),
            next_leader_ms: u64::MAX,
            fenced: false,
            refused: false,
        }
    }

    /// The machine's own clock.
    fn clock_ms(&self) -> u64 {
        1_000_000 + (self.now_ms as f64 * self.rate) as u64
    }

    fn late(&mut self) -> u64 {
        let long = self.random.random_bool(0.05);
        self.now_ms + self.random.random_range(1..if long { 20_000 } else { 300 })
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        self.change_leaders();
        self.ask();
        self.answer();
    }

    fn change_leaders(&mut self) {
        if self.leases.is_some() && self.random.random_bool(0.002) {
            // Elected a while later than deposed; what it was permitted before it may still say.
            self.leases = None;
            let fenced = self.fenced;
            for one in &mut self.permitted {
                one.deposed.get_or_insert(fenced);
            }
            self.next_leader_ms = self.now_ms + self.random.random_range(100..8_000);
        } else if self.leases.is_none() && self.now_ms >= self.next_leader_ms {
            self.leases = Some(Arc::new(Leases::new()));
        }
    }

    fn ask(&mut self) {
        if self.now_ms < self.still_ms {
            return;
        }
        if self.random.random_bool(0.001) {
            self.still_ms = self.now_ms + self.random.random_range(1_000..600_000);
        }
        let clock_ms = self.clock_ms();
        if clock_ms >= self.next_ask_ms {
            self.next_ask_ms = clock_ms + TERMS.renew_ms();
            if self.random.random_bool(0.9) {
                let at_ms = self.late();
                self.questions.push(Message {
                    at_ms,
                    sent_ms: clock_ms,
                });
            }
        }
        let now_ms = self.now_ms;
        for answer in self.answers.extract_if(.., |one| one.at_ms <= now_ms) {
            // An answer may be heard long after the machine stood still: it counts from the question.
            self.until_ms = self.until_ms.max(answer.sent_ms + TERMS.lease_ms);
        }
    }

    fn answer(&mut self) {
        let now_ms = self.now_ms;
        let arrived: Vec<_> = self
            .questions
            .extract_if(.., |one| one.at_ms <= now_ms)
            .collect();
        for Message { sent_ms, .. } in arrived {
            if let Some(leases) = self.leases.clone() {
                let at_ms = now_ms + self.random.random_range(0..2_000);
                self.permitted.push(Permitted {
                    at_ms,
                    sent_ms,
                    leases,
                    deposed: None,
                });
            }
        }
        let due: Vec<_> = self
            .permitted
            .extract_if(.., |one| one.at_ms <= now_ms)
            .collect();
        for Permitted {
            sent_ms,
            leases,
            deposed,
            ..
        } in due
        {
            // One that was deposed does not know what was decided after it.
            let fenced = deposed.unwrap_or(self.fenced);
            let verdict = || match fenced {
                true => Verdict::Answer(refused("it is being replaced".to_owned())),
                false => Verdict::Grant,
            };
            let request = LeaseRequest {
                terms: Some(TERMS),
                log: LogGeneration::FIRST,
                sent_ms,
            };
            match leases.grant(verdict, machine(), request, Instant::now()) {
                LeaseAnswer::Granted => {
                    let at_ms = self.late();
                    self.answers.push(Message { at_ms, sent_ms });
                }
                _ => self.refused |= !fenced,
            }
        }
    }

    /// Whether the workload may run on the machine, whatever became of its processes: to the last moment at which a watchdog
    /// would have bitten, or to that at which the kernel kills it.
    fn may_run(&self, bitten: bool) -> bool {
        let until_ms = self.until_ms + if bitten { TERMS.stop_ms } else { 0 };
        self.until_ms > 0 && self.clock_ms() < until_ms
    }
}

fn machine() -> MachineId {
    MachineId::new(7).expect("not zero")
}

/// How long after the successor's start the old copy may run on, in milliseconds; `None` if it never does.
async fn overlap(seed: u64, rates: (f64, f64), waits: Waits, bitten: bool) -> Option<u64> {
    let mut history = History::new(seed, rates);
    let fence_ms = history.random.random_range(5_000..HISTORY_MS / 2);
    let mut started = None;
    let mut overlap = None;
    while history.now_ms < HISTORY_MS {
        tokio::time::advance(Duration::from_millis(STEP_MS)).await;
        history.step();
        if let Some(leases) = &history.leases {
            history.fenced |= history.now_ms >= fence_ms;
            if history.fenced && leases.left(machine(), waits).is_zero() {
                started.get_or_insert(history.now_ms);
            }
        }
        if let Some(started_ms) = started.filter(|_| history.may_run(bitten)) {
            overlap = Some(history.now_ms - started_ms);
        }
        if started.is_some_and(|at_ms| history.now_ms > at_ms + 60_000) {
            break;
        }
    }
    assert!(
        started.is_some() || history.leases.is_none(),
        "seed {seed}: never started"
    );
    overlap
}

#[tokio::test(start_paused = true)]
async fn two_copies_never_run_while_clocks_keep_the_bound() {
    for seed in 0..SEEDS {
        let over = overlap(seed, (0.98, 1.05), TERMS, true).await;
        assert_eq!(over, None, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_what_the_kernel_ends_is_still_over_in_time() {
    for seed in 0..SEEDS {
        let over = overlap(seed, (0.82, 0.98), TERMS, false).await;
        assert_eq!(over, None, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_waited_less_would_be_found_out() {
    let less = LeaseTerms {
        lease_ms: 8_000,
        ..TERMS
    };
    let mut found = 0;
    for seed in 0..SEEDS {
        found += u32::from(overlap(seed, (0.98, 1.05), less, true).await.is_some());
    }
    assert!(found > 0, "the histories prove nothing");
}

#[tokio::test(start_paused = true)]
async fn a_clock_beyond_the_bound_gets_no_lease_in_the_end() {
    for (rate, refused) in [(0.97, true), (0.999, false)] {
        let leases = Leases::new();
        let mut last = None;
        for second in (0..300).step_by(4) {
            let sent_ms = 5_000 + (second as f64 * 1000.0 * rate) as u64;
            let request = LeaseRequest {
                terms: Some(TERMS),
                log: LogGeneration::FIRST,
                sent_ms,
            };
            last = Some(leases.grant(|| Verdict::Grant, machine(), request, Instant::now()));
            tokio::time::advance(Duration::from_secs(4)).await;
        }
        let said = last.expect("asked");
        assert_eq!(said != LeaseAnswer::Granted, refused, "{rate}: {said:?}");
    }
}
