//! Clocks. Each machine has one that tells the time of day, which may be off, and one that nobody sets, by which leases are
//! counted. Both go at the machine's own pace.

use std::collections::BTreeMap;

use muster_mesh::identity::MachineId;

use super::Run;
use crate::simulate::random::Random;

/// What a million milliseconds are in parts of a million.
const MILLION: i64 = 1_000_000;

/// What a clock that nothing is the matter with may gain or lose, in parts of a million: half of what two may differ by.
const USUAL_PPM: i64 = (crate::fleet::DRIFT_PERCENT as i64) * 10_000 / 2;

/// Who is off by as much says so, in milliseconds, as `config` has it.
const CRITICAL_MS: u64 = 5000;

/// How far one machine's time of day is off, and its pace.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    /// How far it was ahead, in milliseconds.
    ahead_ms: i64,
    /// When that was, in milliseconds since 1970.
    at_ms: u64,
    /// What it gains since, in parts of a million.
    gains_ppm: i64,
}

impl Clock {
    fn ahead_ms(&self, now_ms: u64) -> i64 {
        let passed = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        self.ahead_ms + passed.saturating_mul(self.gains_ppm) / MILLION
    }
}

/// The clocks of all machines.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// Those that are not right.
    off: BTreeMap<MachineId, Clock>,
    /// What each gains while nothing is the matter with it, in parts of a million; the time of day is put right all the time.
    usual: BTreeMap<MachineId, i64>,
}

impl Clocks {
    /// How far a machine's time of day is ahead of the real time, in milliseconds.
    pub(super) fn ahead_ms(&self, machine: MachineId, now_ms: u64) -> i64 {
        self.off
            .get(&machine)
            .map_or(0, |clock| clock.ahead_ms(now_ms))
    }

    /// Sets a clock so much ahead of where it was, or goes on at another pace.
    pub(super) fn disturb(&mut self, machine: MachineId, now_ms: u64, by_ms: i64, gains_ppm: i64) {
        let clock = self.off.entry(machine).or_default();
        *clock = Clock {
            ahead_ms: clock.ahead_ms(now_ms) + by_ms,
            at_ms: now_ms,
            gains_ppm: clock.gains_ppm + gains_ppm,
        };
    }

    /// A clock is put right.
    pub(super) fn put_right(&mut self, machine: MachineId) {
        self.off.remove(&machine);
    }

    /// How long it takes in truth until so much has passed by the clock of a machine that nobody sets, in milliseconds.
    pub(super) fn real_ms(&mut self, machine: MachineId, ms: u64, random: &mut Random) -> u64 {
        let disturbed = self.off.get(&machine).map_or(0, |clock| clock.gains_ppm);
        let usual = self.usual.entry(machine).or_insert_with(|| {
            let drawn = random.between(0, USUAL_PPM.unsigned_abs() * 2);
            i64::try_from(drawn).unwrap_or(USUAL_PPM) - USUAL_PPM
        });
        let gains = if disturbed == 0 { *usual } else { disturbed };
        let pace = MILLION.saturating_add(gains).max(1).unsigned_abs();
        ms.saturating_mul(MILLION.unsigned_abs()) / pace
    }
}

impl Run<'_> {
    /// What time it is by the clock of a machine, in milliseconds since 1970.
    pub(super) fn clock_ms(&self, machine: MachineId) -> u64 {
        let ahead_ms = self.clocks.ahead_ms(machine, self.now_ms);
        self.now_ms.saturating_add_signed(ahead_ms)
    }

    /// What time it is for the fleet while this machine leads: its clock never goes back.
    pub(super) fn fleet_ms(&self, leader: MachineId) -> u64 {
        self.state.clock_ms.max(self.clock_ms(leader))
    }

    /// What a machine says of its clock, if that is off.
    pub(super) fn clock_complaint(&self, machine: MachineId) -> Option<String> {
        let ahead_ms = self.clocks.ahead_ms(machine, self.now_ms);
        let off_ms = ahead_ms.unsigned_abs();
        let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
        (off_ms >= CRITICAL_MS)
            .then(|| format!("clock {side} its peers' by {off_ms} ms (critical)"))
    }
}
