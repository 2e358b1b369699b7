//! The next serial of a zone: always newer than the last one by RFC 1982, whatever the clock says.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How the next serial of a zone is made. Each is at least the last one plus one (RFC 1982).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SerialScheme {
    /// Seconds since 1970.
    #[default]
    Unixtime,
    Increment,
    /// YYYYMMDDnn, in UTC.
    Date,
}

/// The serial after `last`: what the scheme makes of the time, or `last + 1` where that would not
/// be newer (RFC 1982 section 3.2), as after a clock that went back or a change of the scheme.
pub fn next(scheme: SerialScheme, last: u32, now_unix_s: i64) -> u32 {
    let wanted = match scheme {
        SerialScheme::Unixtime => u32::try_from(now_unix_s).ok(),
        SerialScheme::Increment => None,
        SerialScheme::Date => first_of_day(now_unix_s),
    };
    // At most 2^31 - 1 may be added (RFC 1982 section 3.1); one always may.
    wanted.filter(|wanted| is_newer(*wanted, last)).unwrap_or(last.wrapping_add(1))
}

/// Whether serial `a` is greater than `b` in the sense of RFC 1982 section 3.2. Two serials that
/// are 2^31 apart have no order: neither is newer.
pub fn is_newer(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}

/// The newer of two serials; `a` where they have no order.
pub fn newest(a: u32, b: u32) -> u32 {
    if is_newer(b, a) { b } else { a }
}

/// YYYYMMDD00 for the UTC day of a time; `None` where it does not fit in 32 bits.
fn first_of_day(unix_s: i64) -> Option<u32> {
    let day = TimeZone::UTC.to_datetime(Timestamp::from_second(unix_s).ok()?);
    let number = i64::from(day.year()) * 10_000 + i64::from(day.month()) * 100 + i64::from(day.day());
    u32::try_from(number.checked_mul(100)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02 03:04:05 UTC.
    const NOW: i64 = 1_767_323_045;

    #[test]
    fn each_scheme() {
        assert_eq!(next(SerialScheme::Unixtime, 7, NOW), 1_767_323_045);
        assert_eq!(next(SerialScheme::Increment, 7, NOW), 8);
        assert_eq!(next(SerialScheme::Date, 7, NOW), 2_026_010_200);
        assert_eq!(next(SerialScheme::Date, 2_026_010_200, NOW), 2_026_010_201);
        assert_eq!(next(SerialScheme::Date, 2_026_010_299, NOW), 2_026_010_300);
    }

    #[test]
    fn never_back() {
        // The clock went back; the scheme changed; the serial wrapped; the clock is absurd.
        assert_eq!(next(SerialScheme::Unixtime, NOW as u32 + 90, NOW), NOW as u32 + 91);
        assert_eq!(next(SerialScheme::Unixtime, 2_026_010_200, NOW), 2_026_010_201);
        assert_eq!(next(SerialScheme::Increment, u32::MAX, NOW), 0);
        for scheme in [SerialScheme::Unixtime, SerialScheme::Increment, SerialScheme::Date] {
            for last in [0, 1, 1 << 31, u32::MAX - 1, u32::MAX, NOW as u32] {
                for now in [i64::MIN, -1, 0, NOW, i64::from(u32::MAX) + 1, i64::MAX] {
                    assert!(is_newer(next(scheme, last, now), last), "{scheme:?} {last} {now}");
                }
            }
        }
    }

    #[test]
    fn order_of_rfc_1982() {
        assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer((1 << 31) - 1, 0));
        assert!(!is_newer(0, 0) && !is_newer(1 << 31, 0) && !is_newer(0, 1 << 31));
        assert_eq!(newest(5, 4_000_000_000), 5);
        assert_eq!(newest(5, 6), 6);
    }
}
