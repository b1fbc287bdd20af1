//! The patience with a remote: how many failures of which sort it takes until it is left alone, and how long a run may wait for
//! nothing.

use super::failure::RemoteFailure;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// The two sorts of requests. Each fails on its own: a remote that takes nothing may give nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Read,
    Write,
}

/// The weight of failures of a side after which it is left alone: two times without an answer, or three other failures.
const MOST: u32 = 6;

/// The time-outs that a run loses at most, in all.
const LOST: u32 = 3;

/// The slowest line on which a request goes on, in bytes a second.
const SLOWEST: f64 = 16.0 * 1024.0;

/// The bytes of one request as they go. Its time is over when none went for a while, not when it takes long.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    /// When bytes went last, and how many did.
    moved: Mutex<(Instant, u64)>,
}

impl Pace {
    fn new() -> Arc<Pace> {
        let now = Instant::now();
        Arc::new(Pace { began: now, moved: Mutex::new((now, 0)) })
    }

    /// Notes that bytes went.
    pub fn moved(&self, bytes: u64) {
        let mut moved = locked(&self.moved);
        *moved = (Instant::now(), moved.1 + bytes);
    }

    /// The moment at which its time is over unless more bytes go before.
    pub fn end(&self, patience: Duration) -> Instant {
        let (last, bytes) = *locked(&self.moved);
        // Whoever sends a byte now and then keeps nobody for long.
        let slowest = patience + Duration::from_secs_f64(bytes as f64 / SLOWEST);
        (last + patience).min(self.began + slowest)
    }

    /// Since when it has waited for nothing, if it has failed now. After a silence that is the last byte; where bytes came too
    /// slowly, all of it was lost.
    fn lost_since(&self, failure: &RemoteFailure, patience: Duration) -> Instant {
        let last = locked(&self.moved).0;
        let is_slow = *failure == RemoteFailure::TimedOut && last.elapsed() < patience;
        if is_slow { self.began } else { last }
    }
}

/// The longest that a request of so many bytes may take.
pub fn longest(timeout: Duration, bytes: u64) -> Duration {
    timeout + Duration::from_secs_f64(bytes as f64 / SLOWEST)
}

/// The time that failures have cost.
#[derive(Debug, Default)]
struct Waste {
    lost: Duration,
    /// The end of what was counted: requests that wait at the same time lose it once.
    until: Option<Instant>,
    /// The requests that are on their way.
    open: Vec<Arc<Pace>>,
}

impl Waste {
    fn since(&self, since: Instant) -> Duration {
        Instant::now().saturating_duration_since(self.until.map_or(since, |until| until.max(since)))
    }

    /// The loss if nothing that is on its way is answered.
    fn at_worst(&self) -> Duration {
        let oldest = self.open.iter().map(|pace| locked(&pace.moved).0).min();
        self.lost + oldest.map_or(Duration::ZERO, |oldest| self.since(oldest))
    }
}

#[derive(Debug, Default)]
struct SideHealth {
    /// The weight of failures since the last success.
    failures: AtomicU32,
    is_left_alone: AtomicBool,
}

/// The patience with a remote in this process.
#[derive(Debug)]
pub struct Health {
    timeout: Duration,
    reads: SideHealth,
    writes: SideHealth,
    waste: Mutex<Waste>,
    said: Mutex<BTreeSet<String>>,
}

impl Health {
    pub fn new(timeout: Duration) -> Health {
        let (reads, writes) = (SideHealth::default(), SideHealth::default());
        Health { timeout, reads, writes, waste: Mutex::default(), said: Mutex::default() }
    }

    fn side(&self, side: Side) -> &SideHealth {
        if side == Side::Read { &self.reads } else { &self.writes }
    }

    pub fn is_left_alone(&self, side: Side) -> bool {
        self.side(side).is_left_alone.load(Ordering::Relaxed)
    }

    /// Leaves a side alone. True if it was not before.
    pub fn leave_alone(&self, side: Side) -> bool {
        !self.side(side).is_left_alone.swap(true, Ordering::Relaxed)
    }

    /// Begins a request; says how long it may wait for nothing. `None` if it must not be made.
    pub fn begin(&self, side: Side) -> Option<(Arc<Pace>, Duration)> {
        let mut waste = locked(&self.waste);
        let left = (self.timeout * LOST).saturating_sub(waste.at_worst());
        if self.is_left_alone(side) || left.is_zero() {
            return None;
        }
        let pace = Pace::new();
        waste.open.push(pace.clone());
        Some((pace, left.min(self.timeout)))
    }

    /// Ends a request that was answered, whatever the answer.
    pub fn answered(&self, side: Side, pace: &Arc<Pace>) {
        locked(&self.waste).open.retain(|open| !Arc::ptr_eq(open, pace));
        self.side(side).failures.store(0, Ordering::Relaxed);
    }

    /// Ends a request that failed. True if its side is left alone from now on.
    pub fn failed(&self, side: Side, pace: &Arc<Pace>, patience: Duration, failure: &RemoteFailure) -> bool {
        let mut waste = locked(&self.waste);
        waste.open.retain(|open| !Arc::ptr_eq(open, pace));
        let lost = waste.since(pace.lost_since(failure, patience));
        waste.lost += lost;
        waste.until = Some(Instant::now());
        let is_spent = waste.lost >= self.timeout * LOST;
        drop(waste);
        if is_spent {
            // Both, and told once.
            let was = [Side::Read, Side::Write].map(|side| self.leave_alone(side));
            return was[0];
        }
        let weight = if *failure == RemoteFailure::TimedOut { 3 } else { 2 };
        let before = self.side(side).failures.fetch_add(weight, Ordering::Relaxed);
        before + weight >= MOST && self.leave_alone(side)
    }

    /// Whether this has not been said before.
    pub fn is_new(&self, said: &str) -> bool {
        locked(&self.said).insert(said.to_owned())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(health: &Health, side: Side, failure: &RemoteFailure) -> bool {
        let (pace, patience) = health.begin(side).unwrap();
        health.failed(side, &pace, patience, failure)
    }

    fn succeeds(health: &Health, side: Side) {
        let (pace, _) = health.begin(side).unwrap();
        health.answered(side, &pace);
    }

    #[test]
    fn a_side_is_left_alone_after_two_silences_or_three_failures_in_a_row_and_the_other_goes_on() {
        let failed = RemoteFailure::Failed("it answers 500".to_owned());
        let health = Health::new(Duration::from_secs(30));
        assert!(!fails(&health, Side::Write, &RemoteFailure::TimedOut));
        // What can be read says nothing about what can be written.
        succeeds(&health, Side::Read);
        assert!(fails(&health, Side::Write, &RemoteFailure::TimedOut));
        assert!(health.begin(Side::Write).is_none() && !health.is_left_alone(Side::Read));
        assert!(!fails(&health, Side::Read, &failed) && !fails(&health, Side::Read, &failed));
        succeeds(&health, Side::Read);
        assert!(!fails(&health, Side::Read, &failed) && !fails(&health, Side::Read, &RemoteFailure::Away));
        assert!(fails(&health, Side::Read, &failed) && health.is_left_alone(Side::Read));
    }

    #[test]
    fn all_waiting_for_nothing_together_is_bounded_whatever_succeeds_in_between() {
        let timeout = Duration::from_millis(40);
        let (health, began) = (Health::new(timeout), Instant::now());
        let mut silences = 0;
        while let Some((pace, patience)) = health.begin(Side::Write) {
            silences += 1;
            while Instant::now() < pace.end(patience) {
                std::hint::spin_loop();
            }
            health.failed(Side::Write, &pace, patience, &RemoteFailure::TimedOut);
            if let Some((pace, _)) = health.begin(Side::Write) {
                health.answered(Side::Write, &pace);
            }
        }
        assert_eq!(silences, LOST);
        assert!(began.elapsed() >= timeout * LOST && health.is_left_alone(Side::Read));
    }

    #[test]
    fn bytes_that_come_give_a_request_time_and_a_few_give_it_little() {
        let patience = Duration::from_secs(30);
        let pace = Pace::new();
        let first = pace.end(patience);
        pace.moved(1);
        assert!(pace.end(patience) < first + Duration::from_millis(1));
        pace.moved(8 << 20);
        let (last, _) = *locked(&pace.moved);
        assert_eq!(pace.end(patience), last + patience, "a silence is not longer for it");
    }
}
