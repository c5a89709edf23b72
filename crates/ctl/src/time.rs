//! Kernel times, 100 ns since 1601 in UTC, as text.

/// 100 ns units in a second.
pub const SECOND: u64 = 10_000_000;
const DAY: u64 = 86_400 * SECOND;
/// Days from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH_DAYS: u64 = 134_774;
/// 1970-01-01.
pub const UNIX_EPOCH: u64 = UNIX_EPOCH_DAYS * DAY;
/// Days from 0000-03-01 to 1601-01-01.
const ERA_DAYS: u64 = 584_694;

/// A time, taken apart.
struct Parts {
    year: u64,
    month: u64,
    day: u64,
    second: u64,
    fraction: u64,
}

/// Years begin in March here, so that a leap day is the last of its year; 146 097 days make 400 years.
fn parts(time: u64) -> Parts {
    let days = time / DAY + ERA_DAYS;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    Parts {
        year: era * 400 + year_of_era + u64::from(month <= 2),
        month,
        day: day_of_year - (153 * shifted + 2) / 5 + 1,
        second: time % DAY / SECOND,
        fraction: time % SECOND,
    }
}

/// RFC 3339 with all seven digits: `2025-06-01T12:00:00.1234567Z`.
#[must_use]
pub fn precise(time: u64) -> String {
    let Parts {
        year,
        month,
        day,
        second,
        fraction,
    } = parts(time);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{fraction:07}Z")
}

/// To the second, for people: `2025-06-01 12:00:00Z`.
#[must_use]
pub fn plain(time: u64) -> String {
    precise(time)
        .replace('T', " ")
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned()
        + "Z"
}

/// The time of day to the millisecond: `12:00:00.123`.
#[must_use]
pub fn of_day(time: u64) -> String {
    precise(time).get(11..23).unwrap_or_default().to_owned()
}

/// A duration as its two largest units: `3d 4h`, `12m 5s`, `7s`.
#[must_use]
pub fn span(duration: u64) -> String {
    let seconds = duration / SECOND;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A time as people write it: what [`precise`] and [`plain`] print, the fraction and the `Z` being optional; or a date alone.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    if !(1601..=9999).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let units = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<7}").get(..7)?.parse().ok()?
    };
    let (shifted_year, shifted_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    let days = shifted_year * 365 + leap_days + (153 * shifted_month + 2) / 5 + day.checked_sub(1)? - ERA_DAYS;
    let time = days * DAY + (hour * 3_600 + minute * 60 + second) * SECOND + units;
    let read = parts(time);
    (read.month == month && read.day == day).then_some(time)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Now.
#[must_use]
pub fn now() -> u64 {
    let since_1970 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UNIX_EPOCH + since_1970.as_secs() * SECOND + u64::from(since_1970.subsec_nanos()) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(precise(0), "1601-01-01T00:00:00.0000000Z");
        assert_eq!(precise(UNIX_EPOCH), "1970-01-01T00:00:00.0000000Z");
        assert_eq!(plain(UNIX_EPOCH + 951_782_400 * SECOND), "2000-02-29 00:00:00Z");
        assert_eq!(
            precise(UNIX_EPOCH + 4_107_542_399 * SECOND + 1_234_567),
            "2100-02-28T23:59:59.1234567Z"
        );
        assert_eq!(of_day(UNIX_EPOCH + 3_661 * SECOND + 5_000_000), "01:01:01.500");
    }

    #[test]
    fn every_day_reads_back() {
        for day in (0..400 * 366).step_by(13) {
            let time = day * DAY + 45_296 * SECOND + 7;
            assert_eq!(parse(&precise(time)), Some(time));
            assert_eq!(parse(&plain(time)), Some(time - 7));
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2025",
            "2025-02-29",
            "2025-13-01",
            "2025-01-00",
            "2025-01-01T24:00:00",
            "2025-01-01T1:2",
            "x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("2025-06-01"), parse("2025-06-01T00:00:00Z"));
        assert_eq!(
            parse("2025-06-01 00:00:00.5").map(|time| time % SECOND),
            Some(5_000_000)
        );
    }

    #[test]
    fn spans() {
        assert_eq!(span(59 * SECOND), "59s");
        assert_eq!(span(60 * SECOND), "1m 0s");
        assert_eq!(span(11_520 * SECOND), "3h 12m");
        assert_eq!(span(90_000 * SECOND), "1d 1h");
    }
}
