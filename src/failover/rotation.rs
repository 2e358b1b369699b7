//! The weekly turn of the order of preference. Weeks are counted from a fixed Monday, so that
//! every host agrees without talking and New Year is a week like any other.

/// Monday 1970-01-05 00:00 UTC, in Unix milliseconds.
const FIRST_MONDAY_MS: i64 = 4 * 86_400_000;
const WEEK_MS: i64 = 7 * 86_400_000;

/// Whole weeks since Monday 1970-01-05 00:00 UTC; negative before.
pub fn week(unix_ms: i64) -> i64 {
    unix_ms.saturating_sub(FIRST_MONDAY_MS).div_euclid(WEEK_MS)
}

/// When the week after that of `unix_ms` begins, in Unix milliseconds.
pub fn next_ms(unix_ms: i64) -> i64 {
    week(unix_ms).saturating_add(1).saturating_mul(WEEK_MS).saturating_add(FIRST_MONDAY_MS)
}

/// The index of the node that is first in a week, in a pool of this many nodes (0 for none).
pub fn offset(week: i64, nodes: usize) -> usize {
    let nodes = i64::try_from(nodes).unwrap_or(i64::MAX);
    usize::try_from(week.checked_rem_euclid(nodes).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn weeks_begin_on_monday() {
        assert_eq!(week(at("1970-01-05T00:00:00Z")), 0);
        assert_eq!(week(at("1970-01-04T23:59:59Z")), -1);
        assert_eq!(week(at("2026-01-05T00:00:00Z")) - week(at("2026-01-04T23:59:59.999Z")), 1);
        assert_eq!(next_ms(at("2025-12-31T12:00:00Z")), at("2026-01-05T00:00:00Z"));
        assert_eq!(next_ms(at("2026-01-05T00:00:00Z")), at("2026-01-12T00:00:00Z"));
    }

    /// `%U` goes 52 -> 00 without a change of parity, and a one-day week 53 swaps twice.
    #[test]
    fn every_new_year_turns_once_a_week() {
        let mut monday = at("1999-01-04T00:00:00Z");
        while monday < at("2060-01-01T00:00:00Z") {
            let next = next_ms(monday);
            assert_eq!(next - monday, WEEK_MS);
            assert_eq!((offset(week(monday), 2) + 1) % 2, offset(week(next), 2));
            assert_eq!((offset(week(monday), 3) + 1) % 3, offset(week(next), 3));
            monday = next;
        }
    }

    #[test]
    fn absurd_clocks() {
        for unix_ms in [i64::MIN, -1, 0, i64::MAX] {
            assert!(offset(week(unix_ms), 3) < 3);
            next_ms(unix_ms);
        }
        assert_eq!(offset(-1, 0), 0);
        assert_eq!(offset(-1, 3), 2);
    }
}
