//! How long the answers live that were given out (`ttl-min`).

use super::super::SECOND_MS;

#[derive(Clone, Copy, Default)]
pub struct Promise {
    /// Since when answers carry the bound of now.
    from_ms: u64,
    bound_s: Option<u32>,
    /// When the last of the answers before ends; those at `ttl-min` aside.
    end_ms: u64,
}

impl Promise {
    /// Nobody could know of what comes now: what was given out before may outlive it.
    pub fn void(&mut self, now_ms: u64) {
        (self.from_ms, self.end_ms) = (now_ms, 0);
    }

    pub fn renew(&mut self, bound_s: Option<u32>, ttl_min_s: Option<u32>, now_ms: u64, has_moved: bool) {
        let Some(min_s) = ttl_min_s else { return };
        if self.bound_s == bound_s && !has_moved {
            return;
        }
        // In no time at all no answer is given.
        if self.from_ms < now_ms {
            let end_ms = match self.bound_s {
                None => u64::MAX / 2,
                Some(bound_s) if bound_s <= min_s => 0,
                Some(bound_s) => now_ms + u64::from(bound_s) * SECOND_MS,
            };
            self.end_ms = self.end_ms.max(end_ms);
        }
        (self.from_ms, self.bound_s) = (now_ms, bound_s);
    }

    /// The answers have changed: when those before end.
    pub fn take_end_ms(&mut self) -> u64 {
        std::mem::take(&mut self.end_ms)
    }
}
