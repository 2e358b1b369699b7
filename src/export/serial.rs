//! The next serial of a zone. It never goes back (RFC 1982), whatever the clock says.

use domain::base::Serial;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How the next serial of a zone is made. Each is at least the last one plus one (RFC 1982).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SerialScheme {
    /// Seconds since 1970.
    #[default]
    Unixtime,
    Increment,
    /// YYYYMMDDnn.
    Date,
}

/// The serial that follows `last` at this time: what the scheme says if that is newer, else `last`
/// plus one. Newer in the sense of RFC 1982 section 3.2 always; never 0, which some take for "none".
pub fn next(scheme: SerialScheme, last: u32, now_unix_s: i64) -> u32 {
    let wanted = match scheme {
        // Wraps in 2106, as serials may.
        SerialScheme::Unixtime => Some(now_unix_s as u32),
        SerialScheme::Increment => None,
        SerialScheme::Date => dated(now_unix_s),
    };
    let plus_one = match last.wrapping_add(1) {
        0 => 1,
        serial => serial,
    };
    wanted.filter(|&wanted| wanted != 0 && is_newer(wanted, last)).unwrap_or(plus_one)
}

/// Whether `serial` is newer than `than` (RFC 1982 section 3.2). Where they are 2^31 apart the
/// comparison is undefined, and the answer no.
pub fn is_newer(serial: u32, than: u32) -> bool {
    Serial(serial) > Serial(than)
}

/// The first serial of the day in UTC, YYYYMMDD00.
fn dated(now_unix_s: i64) -> Option<u32> {
    let date = Timestamp::from_second(now_unix_s).ok()?.to_zoned(TimeZone::UTC).date();
    let (year, month, day) = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
    u32::try_from(((year * 100 + month) * 100 + day) * 100).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2024-03-30 19:39:33 UTC.
    const NOW_UNIX_S: i64 = 1_711_827_573;

    #[test]
    fn schemes() {
        use SerialScheme::{Date, Increment, Unixtime};
        for (scheme, last, now_unix_s, expected) in [
            (Unixtime, 5, NOW_UNIX_S, 1_711_827_573),
            (Unixtime, 1_711_827_573, NOW_UNIX_S, 1_711_827_574),
            (Unixtime, 1_800_000_000, NOW_UNIX_S, 1_800_000_001),
            (Unixtime, 2_024_033_000, NOW_UNIX_S, 2_024_033_001),
            (Unixtime, 7, 0, 8),
            (Unixtime, 7, -1, 8),
            (Unixtime, u32::MAX, 1 << 32, 1),
            (Increment, 41, NOW_UNIX_S, 42),
            (Increment, u32::MAX, NOW_UNIX_S, 1),
            (Date, 5, NOW_UNIX_S, 2_024_033_000),
            (Date, 2_024_033_000, NOW_UNIX_S, 2_024_033_001),
            (Date, 2_024_033_099, NOW_UNIX_S, 2_024_033_100),
            (Date, 2_030_010_100, NOW_UNIX_S, 2_030_010_101),
            (Date, 5, i64::MAX, 6),
        ] {
            assert_eq!(next(scheme, last, now_unix_s), expected, "{scheme:?} {last} {now_unix_s}");
        }
    }

    proptest! {
        #[test]
        fn never_goes_back(last: u32, now_unix_s: i64, scheme in 0..3_usize) {
            let scheme = [SerialScheme::Unixtime, SerialScheme::Increment, SerialScheme::Date][scheme];
            prop_assert!(is_newer(next(scheme, last, now_unix_s), last));
        }
    }
}
