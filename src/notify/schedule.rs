//! When a delivery that failed is tried again. Pure.

/// The first wait, in milliseconds; each one after it is twice as long.
const FIRST_MS: u64 = 2_000;
/// The longest wait.
const LONGEST_MS: u64 = 300_000;
/// No attempt begins later than this after the first; then the notification is given up, and counted
/// as failed.
pub const GIVE_UP_MS: u64 = 3_600_000;

/// The retries of one delivery.
#[derive(Clone, Debug)]
pub struct Schedule {
    next_ms: u64,
    began_ms: u64,
}

impl Schedule {
    /// Times are in milliseconds of any clock that does not go back.
    pub fn new(began_ms: u64) -> Schedule {
        Schedule { next_ms: FIRST_MS, began_ms }
    }

    /// How long to wait after a failure at `now_ms`; `None`: give up.
    pub fn wait_ms(&mut self, now_ms: u64) -> Option<u64> {
        let wait_ms = self.next_ms;
        self.next_ms = self.next_ms.saturating_mul(2).min(LONGEST_MS);
        let at_ms = now_ms.saturating_add(wait_ms);
        (at_ms.saturating_sub(self.began_ms) <= GIVE_UP_MS).then_some(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_and_longer_and_then_never() {
        let mut schedule = Schedule::new(5);
        let (mut now_ms, mut waits) = (5, Vec::new());
        while let Some(wait_ms) = schedule.wait_ms(now_ms) {
            waits.push(wait_ms / 1_000);
            now_ms += wait_ms;
        }
        assert_eq!(&waits[..9], [2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert!(now_ms - 5 + LONGEST_MS > GIVE_UP_MS);
        assert!(now_ms - 5 <= GIVE_UP_MS && waits.len() < 30);
        assert_eq!(Schedule::new(0).wait_ms(u64::MAX), None);
    }
}
