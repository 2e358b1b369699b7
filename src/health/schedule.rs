//! When each target's next probe is due. Targets are numbers, given by the caller.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Probes under way at one time, at most: each holds a socket. What is due beyond it waits.
pub const MAX_IN_FLIGHT: usize = 4_096;

/// At the start the first probes go out this far apart on average, in milliseconds, but all within
/// one interval: a few targets are looked at at once, ten thousand are no storm.
pub const START_GAP_MS: u64 = 20;

/// A probe starts up to one part in this many of its interval earlier than the interval says, so
/// that targets do not march in step.
const JITTER_PARTS: u64 = 20;

/// A heap of due times. A target is either waiting here or under way, never both: what is overdue
/// is not stacked.
#[derive(Debug)]
pub struct Schedule {
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    /// For each target, when its last probe started; `None` unless it is under way.
    started_ms: Vec<Option<u64>>,
    /// For each target, when it is due. What is in the heap with another time is passed over.
    due_ms: Vec<u64>,
    in_flight: usize,
    random: u64,
}

impl Schedule {
    /// An empty schedule. The seed decides about all jitter that follows.
    pub fn new(seed: u64) -> Schedule {
        Schedule { waiting: BinaryHeap::new(), started_ms: Vec::new(), due_ms: Vec::new(), in_flight: 0, random: seed }
    }

    /// Adds a target (0, 1, 2, ... in turn) whose first probe is due somewhere in the first
    /// `START_GAP_MS * targets` milliseconds, at most in the first interval.
    pub fn add(&mut self, now_ms: u64, interval_ms: u64, targets: usize) {
        let window_ms = START_GAP_MS.saturating_mul(targets as u64).min(interval_ms);
        let wait_ms = self.below(window_ms);
        self.add_at(now_ms.saturating_add(wait_ms));
    }

    /// Adds a target whose next probe is due at a known time.
    pub fn add_at(&mut self, due_ms: u64) {
        let target = self.started_ms.len();
        self.started_ms.push(None);
        self.due_ms.push(due_ms);
        self.waiting.push(Reverse((due_ms, target)));
    }

    /// Adds a target whose probe is under way.
    pub fn add_in_flight(&mut self, started_ms: u64) {
        self.started_ms.push(Some(started_ms));
        self.due_ms.push(started_ms);
        self.in_flight += 1;
    }

    /// Moves the next probe of a target forward to this time, if it is due later. Nothing happens if
    /// one is under way.
    pub fn hurry(&mut self, target: usize, at_ms: u64) {
        if self.is_in_flight(target) {
            return;
        }
        if let Some(due_ms) = self.due_ms.get_mut(target).filter(|due_ms| **due_ms > at_ms) {
            *due_ms = at_ms;
            self.waiting.push(Reverse((at_ms, target)));
            // The old time may stand on top.
            self.prune();
        }
    }

    /// Takes what was moved forward off the top, where its old time stands.
    fn prune(&mut self) {
        while let Some(Reverse((due_ms, target))) = self.waiting.peek() {
            if self.started_ms[*target].is_none() && self.due_ms[*target] == *due_ms {
                break;
            }
            self.waiting.pop();
        }
    }

    /// Takes the next target that is due, and counts it as under way. `None` when nothing is due
    /// or [`MAX_IN_FLIGHT`] are under way.
    pub fn take_due(&mut self, now_ms: u64) -> Option<usize> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let Reverse((due_ms, target)) = *self.waiting.peek()?;
        if due_ms > now_ms {
            return None;
        }
        self.waiting.pop();
        self.started_ms[target] = Some(now_ms);
        self.in_flight += 1;
        self.prune();
        Some(target)
    }

    /// The probe of a target has ended; the next one is due one interval after it started, or now
    /// if that is past. Nothing happens if none was under way.
    pub fn ended(&mut self, target: usize, now_ms: u64, interval_ms: u64) {
        let Some(started_ms) = self.started_ms.get_mut(target).and_then(Option::take) else { return };
        self.in_flight -= 1;
        let earlier_ms = self.below(interval_ms / JITTER_PARTS);
        let due_ms = started_ms.saturating_add(interval_ms).saturating_sub(earlier_ms).max(now_ms);
        self.due_ms[target] = due_ms;
        self.waiting.push(Reverse((due_ms, target)));
        self.prune();
    }

    pub fn is_in_flight(&self, target: usize) -> bool {
        self.started_ms.get(target).is_some_and(Option::is_some)
    }

    /// When [`Schedule::take_due`] has something to give. `None` while it waits for probes to end.
    pub fn next_ms(&self) -> Option<u64> {
        if self.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        self.waiting.peek().map(|Reverse((due_ms, _))| *due_ms)
    }

    /// For each target: when it is due, or that it is under way since.
    pub fn slots(&self) -> Vec<Slot> {
        let slot = |(started, due_ms): (&Option<u64>, &u64)| started.map_or(Slot::Due(*due_ms), Slot::InFlight);
        self.started_ms.iter().zip(&self.due_ms).map(slot).collect()
    }

    /// A number in `0..bound` (0 for 0), by splitmix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed.checked_rem(bound).unwrap_or(0)
    }
}

/// Where a target stands; see [`Schedule::slots`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Slot {
    /// Its next probe is due at this time, in milliseconds.
    Due(u64),
    /// Its probe is under way since.
    InFlight(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_spread() {
        let mut schedule = Schedule::new(1);
        for _ in 0..10_000 {
            schedule.add(0, 10_000, 10_000);
        }
        // Ten thousand within one interval: no second gets much more than its share.
        for second in 1..=10 {
            let mut started = 0;
            while let Some(target) = schedule.take_due(second * 1_000) {
                schedule.ended(target, second * 1_000, 1_000_000);
                started += 1;
            }
            assert!((700..1_300).contains(&started), "{started} in second {second}");
        }
        // A few go out at once.
        let mut schedule = Schedule::new(1);
        (0..4).for_each(|_| schedule.add(0, 10_000, 4));
        assert!((0..4).all(|_| schedule.take_due(80).is_some()));
    }

    #[test]
    fn one_in_flight_and_nothing_stacked() {
        let mut schedule = Schedule::new(2);
        schedule.add_at(5);
        assert_eq!(schedule.take_due(4), None);
        assert_eq!(schedule.take_due(5), Some(0));
        assert_eq!((schedule.take_due(1_000_000), schedule.next_ms()), (None, None));
        // It took ten intervals: the next is due at once, and only one.
        assert!(schedule.is_in_flight(0));
        schedule.ended(0, 10_005, 1_000);
        assert_eq!(schedule.next_ms(), Some(10_005));
        assert_eq!(schedule.take_due(10_005), Some(0));
        assert_eq!(schedule.take_due(10_005), None);
        schedule.ended(0, 10_006, 1_000);
        schedule.ended(0, 10_007, 1_000);
        assert_eq!((schedule.take_due(20_000), schedule.take_due(20_000)), (Some(0), None), "was not under way");
    }

    #[test]
    fn jitter_is_small_early_and_seeded() {
        let due = |seed: u64| {
            let mut schedule = Schedule::new(seed);
            schedule.add_at(0);
            (0..100)
                .map(|_| {
                    let at = schedule.next_ms().unwrap();
                    schedule.take_due(at);
                    schedule.ended(0, at, 10_000);
                    schedule.next_ms().unwrap() - at
                })
                .collect::<Vec<_>>()
        };
        assert!(due(7).iter().all(|wait| (9_500..=10_000).contains(wait)), "{:?}", due(7));
        assert_eq!(due(7), due(7));
        assert_ne!(due(7), due(8));
    }

    #[test]
    fn hurried_once() {
        let mut schedule = Schedule::new(4);
        (0..3).for_each(|target| schedule.add_at(1_000 * (target + 1)));
        schedule.hurry(2, 10);
        schedule.hurry(2, 20);
        assert_eq!((schedule.next_ms(), schedule.take_due(20)), (Some(10), Some(2)));
        schedule.hurry(2, 30);
        schedule.ended(2, 40, 10_000);
        assert_eq!((schedule.take_due(1_000), schedule.take_due(2_000)), (Some(0), Some(1)));
        // Its old time, 3,000, has no meaning any more.
        assert!(schedule.next_ms().is_some_and(|due_ms| due_ms > 9_000), "{schedule:?}");
        assert_eq!(schedule.take_due(9_000), None);
    }

    #[test]
    fn bounded_concurrency() {
        let mut schedule = Schedule::new(3);
        (0..MAX_IN_FLIGHT + 1).for_each(|_| schedule.add_at(0));
        for _ in 0..MAX_IN_FLIGHT {
            assert!(schedule.take_due(0).is_some());
        }
        assert_eq!((schedule.take_due(0), schedule.next_ms()), (None, None));
        schedule.ended(0, 3, 1_000);
        assert_eq!(schedule.next_ms(), Some(0));
        assert!(schedule.take_due(3).is_some());
    }
}
