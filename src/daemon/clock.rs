//! The one place where the clocks are read for the pure floors.

use std::time::{Instant, SystemTime};

use crate::health::time::Now;

/// Both clocks, the monotonic one counted from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { started: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { monotonic_ms, unix_ms: unix_ms() }
    }

    /// The instant of a monotonic time that [`Clock::now`] gave.
    pub fn instant(&self, monotonic_ms: u64) -> Instant {
        self.started + std::time::Duration::from_millis(monotonic_ms)
    }
}

/// Milliseconds since 1970-01-01 00:00 UTC; negative before.
pub fn unix_ms() -> i64 {
    let clamp = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => clamp(since),
        Err(before) => -clamp(before.duration()),
    }
}
