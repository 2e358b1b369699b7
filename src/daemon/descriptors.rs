//! File descriptors: as many as the system gives us, and how many probes they are enough for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::health::schedule::MAX_IN_FLIGHT;

/// Fewer probes at a time than this make no sense, whatever the limit is.
const PROBES_MIN: usize = 64;

/// Raises the limit on file descriptors to what the system allows: the usual one, 1,024, is from the
/// days of `select`.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, fewer probes run at a time.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Probes under way at a time; more wait their turn. Half of the descriptors are left to clients and
/// children: a probe that finds none says nothing of its node.
pub fn probes_max() -> usize {
    affordable(getrlimit(Resource::Nofile).current)
}

/// `None`: no limit.
fn affordable(descriptors: Option<u64>) -> usize {
    let half = descriptors.map_or(usize::MAX, |count| usize::try_from(count / 2).unwrap_or(usize::MAX));
    half.clamp(PROBES_MIN, MAX_IN_FLIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_within_bounds() {
        assert_eq!(affordable(Some(1_024)), 512);
        assert_eq!((affordable(Some(16)), affordable(Some(1 << 20))), (PROBES_MIN, MAX_IN_FLIGHT));
        assert_eq!(affordable(None), MAX_IN_FLIGHT);
    }
}
