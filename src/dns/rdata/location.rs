//! The text of LOC (RFC 1876 section 3): degrees, altitude and precisions.

use super::print::Octets;
use super::{Fields, RdataError};

/// Precisions that are not written, in wire form: 1 m, 10,000 m, 10 m.
const PRECISIONS: [u8; 3] = [0x12, 0x16, 0x13];
/// The equator and the prime meridian, in thousandths of an arc second.
const MIDDLE: u32 = 1 << 31;
/// Altitude zero lies 100,000 m above the base, in centimetres.
const ALTITUDE_BASE_CM: i64 = 10_000_000;

/// `d1 [m1 [s1]] N|S d2 [m2 [s2]] E|W altitude[m] [size[m] [horizontal[m] [vertical[m]]]]`.
pub(super) fn read(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let latitude = angle(fields, 90, ['N', 'S'], "a latitude as 52 22 23.5 N")?;
    let longitude = angle(fields, 180, ['E', 'W'], "a longitude as 4 53 32 E")?;
    let altitude = fields.read("an altitude in metres (-100000 to 42849672.95)", |text| {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let altitude_cm = sign * i64::try_from(fixed(metres(digits), 2)?).ok()?;
        u32::try_from(altitude_cm + ALTITUDE_BASE_CM).ok()
    })?;
    let mut precisions = PRECISIONS;
    for precision in &mut precisions {
        if !fields.rest().is_empty() {
            *precision = fields
                .read("a precision in metres (0 to 90000000)", |text| fixed(metres(text), 2).and_then(exponential))?;
        }
    }
    out.push(0);
    out.extend_from_slice(&precisions);
    for part in [latitude, longitude, altitude] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    Ok(())
}

/// The same as text; `None`: not of version 0, or no place on earth.
pub(super) fn text(octets: &mut Octets<'_>) -> Option<String> {
    if octets.number(1)? != 0 {
        return None;
    }
    let precisions = [octets.number(1)?, octets.number(1)?, octets.number(1)?];
    let latitude = angle_text(octets.number(4)?, 90, ['N', 'S'])?;
    let longitude = angle_text(octets.number(4)?, 180, ['E', 'W'])?;
    let altitude_cm = i64::from(octets.number(4)?) - ALTITUDE_BASE_CM;
    let sign = if altitude_cm < 0 { "-" } else { "" };
    let mut text = format!("{latitude} {longitude} {sign}{}", metres_text(altitude_cm.unsigned_abs()));
    for precision in precisions {
        let (mantissa, exponent) = (precision >> 4, precision & 15);
        // Others have more than one spelling in wire form, and come back as another octet.
        if mantissa > 9 || exponent > 9 || (mantissa == 0 && exponent > 0) {
            return None;
        }
        text += &format!(" {}", metres_text(u64::from(mantissa) * 10_u64.pow(exponent)));
    }
    Some(text)
}

fn metres_text(value_cm: u64) -> String {
    format!("{}.{:02}m", value_cm / 100, value_cm % 100)
}

fn angle_text(value: u32, most_degrees: u32, [plus, minus]: [char; 2]) -> Option<String> {
    let (value_ms, hemisphere) = if value >= MIDDLE { (value - MIDDLE, plus) } else { (MIDDLE - value, minus) };
    let (degrees, minutes, ms) = (value_ms / 3_600_000, value_ms / 60_000 % 60, value_ms % 60_000);
    let text = format!("{degrees} {minutes} {}.{:03} {hemisphere}", ms / 1000, ms % 1000);
    (value_ms <= most_degrees * 3_600_000).then_some(text)
}

/// Degrees, minutes, seconds and the hemisphere; thousandths of an arc second from the middle.
fn angle(fields: &mut Fields<'_>, most_degrees: u64, [plus, minus]: [char; 2], what: &str) -> Result<u32, RdataError> {
    let mut value_ms: u64 = 0;
    for (unit_ms, most, decimals) in [(3_600_000, most_degrees, 0), (60_000, 59, 0), (1, 59_999, 3)] {
        let next = fields.rest().first().map_or(&b""[..], |field| field.text);
        let letter = next.len() == 1 && next[0].is_ascii_alphabetic();
        if letter && unit_ms != 3_600_000 {
            break;
        }
        value_ms += unit_ms * fields.read(what, |text| fixed(text, decimals).filter(|&value| value <= most))?;
    }
    let positive = fields.read(what, |text| match text.to_ascii_uppercase() {
        letter if letter.chars().eq([plus]) => Some(true),
        letter if letter.chars().eq([minus]) => Some(false),
        _ => None,
    })?;
    if value_ms > most_degrees * 3_600_000 {
        return Err(fields.bad(fields.next - 1, format!("this is not {what}: more than {most_degrees} degrees")));
    }
    let value_ms = value_ms as u32;
    Ok(if positive { MIDDLE + value_ms } else { MIDDLE - value_ms })
}

fn metres(text: &str) -> &str {
    text.strip_suffix(['m', 'M']).unwrap_or(text)
}

/// A number with at most `decimals` digits behind the point, in units of the last of them.
fn fixed(text: &str, decimals: usize) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || fraction.len() > decimals || !digits(whole) || !digits(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<decimals$}").parse().ok()
}

/// Centimetres as one digit and a power of ten, cut off behind the first digit.
fn exponential(value_cm: u64) -> Option<u8> {
    let (mut mantissa, mut exponent) = (value_cm, 0);
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((mantissa as u8) << 4 | exponent)
}
