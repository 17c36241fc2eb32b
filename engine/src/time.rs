//! Times as documents show them.

use jiff::Timestamp;
use jiff::tz::Offset;

/// Bytes of a time as [`rfc3339`] writes it.
pub(crate) const RFC3339_BYTES: usize = 24;

/// RFC 3339 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    String::from_utf8_lossy(&rfc3339_bytes(unix_ms)).into_owned()
}

/// The same, as ASCII.
pub(crate) fn rfc3339_bytes(unix_ms: u64) -> [u8; RFC3339_BYTES] {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    let utc = Offset::UTC.to_datetime(time);
    // Every write shows two times, and a general formatter reads its pattern each time.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let parts = [
        (0..4, i32::from(utc.year())),
        (5..7, utc.month().into()),
        (8..10, utc.day().into()),
        (11..13, utc.hour().into()),
        (14..16, utc.minute().into()),
        (17..19, utc.second().into()),
        (20..23, utc.millisecond().into()),
    ];
    for (place, number) in parts {
        let mut rest = number.unsigned_abs();
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

/// The milliseconds since the epoch that `text` names: RFC 3339 in UTC, ending in `Z`; 0 for what lies before the epoch.
/// `None` for any other text.
pub(crate) fn unix_ms(text: &str) -> Option<u64> {
    // The parser takes other forms too, whose order as text is not that of the times.
    let form = b"0000-00-00T00:00:00";
    let (seconds, fraction) = text.strip_suffix('Z')?.split_at_checked(form.len())?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |(found, wanted): (u8, &u8)| if *wanted == b'0' { found.is_ascii_digit() } else { found == *wanted };
    let well_formed = seconds.bytes().zip(form).all(fits)
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(|rest| !rest.is_empty() && digits(rest)));
    let time: Timestamp = well_formed.then(|| text.parse().ok())??;
    Some(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, unix_ms};

    #[test]
    fn what_is_shown_is_read_again() {
        for ms in [0, 1, 1_700_000_000_120, 4_102_444_800_000] {
            assert_eq!(unix_ms(&rfc3339(ms)), Some(ms));
        }
        assert_eq!(unix_ms("2023-11-14T22:13:20Z"), Some(1_700_000_000_000));
        assert_eq!(unix_ms("1969-12-31T23:59:59Z"), Some(0));
        let odd = [
            "2023-11-14 22:13:20Z",
            "2023-11-14T22:13Z",
            "20231114T221320Z",
            "2023-11-14t22:13:20Z",
            "2023-11-14T22:13:20,5Z",
        ];
        for none in odd.into_iter().chain(["+002023-11-14T22:13:20Z", "2023-11-14T22:13:20.Z", "2023-02-30T00:00:00Z"])
        {
            assert_eq!(unix_ms(none), None, "{none}");
        }
        for none in ["", "Z", "soon", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00", "1700000000"] {
            assert_eq!(unix_ms(none), None, "{none}");
        }
    }

    #[test]
    fn times_have_milliseconds_always() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(1_709_164_799_009), "2024-02-28T23:59:59.009Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00.999Z");
    }
}
