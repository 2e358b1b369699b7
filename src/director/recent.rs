//! What the last probes of one target said, for people who look: not for any decision.

use std::collections::VecDeque;

/// Probes remembered for each target.
pub const RECENT_MAX: usize = 30;

/// The newest [`RECENT_MAX`] outcomes, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<Option<bool>>);

impl Recent {
    pub(super) fn push(&mut self, success: Option<bool>) {
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(success);
    }

    /// One character each: `+` good, `-` bad, `?` could not say.
    pub(super) fn text(&self) -> String {
        let mark = |success: &Option<bool>| match success {
            Some(true) => '+',
            Some(false) => '-',
            None => '?',
        };
        self.0.iter().map(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay() {
        let mut recent = Recent::default();
        recent.push(None);
        recent.push(Some(false));
        assert_eq!(recent.text(), "?-");
        for _ in 0..RECENT_MAX - 1 {
            recent.push(Some(true));
        }
        assert_eq!(recent.text(), format!("-{}", "+".repeat(RECENT_MAX - 1)));
    }
}
