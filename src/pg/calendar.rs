//! PostgreSQL's dates and times, which count days and microseconds from 2000-01-01, as ISO 8601 texts.
//!
//! Years before Christ carry PostgreSQL's ` BC`; every text given here is accepted again as input.

use std::fmt::Write as _;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days from 0000-03-01 of the proleptic Gregorian calendar to 2000-01-01.
const EPOCH_FROM_MARCH_0: i64 = 730_425;

/// `2026-11-20`; the ends of the range mean infinity (`utils/date.h`).
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        days => {
            let (day, era) = day_text(i64::from(days));
            format!("{day}{era}")
        }
    }
}

/// `2026-11-20T15:12:07.25` and then `zone`.
pub(super) fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        micros => {
            let (day, era) = day_text(micros.div_euclid(MICROS_PER_DAY));
            format!("{day}T{}{zone}{era}", time(micros.rem_euclid(MICROS_PER_DAY)))
        }
    }
}

/// `15:12:07.25`; 24:00:00 exists.
pub(super) fn time(micros: i64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    let fraction = fraction(micros % MICROS_PER_SECOND);
    format!("{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `15:12:07+02:00`; on the wire the zone is counted in seconds west of Greenwich.
pub(super) fn time_with_zone(micros: i64, west: i32) -> String {
    let (sign, zone) = if west > 0 { ('-', west) } else { ('+', -west) };
    let seconds = if zone % 60 == 0 { String::new() } else { format!(":{:02}", zone % 60) };
    format!("{}{sign}{:02}:{:02}{seconds}", time(micros), zone / 3600, zone / 60 % 60)
}

/// `P1Y2M3DT4H5M6.5S`, each part with its own sign as PostgreSQL's `iso_8601` style has it; infinite from 17 on.
pub(super) fn interval(micros: i64, days: i32, months: i32) -> String {
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return "infinity".into(),
        (i64::MIN, i32::MIN, i32::MIN) => return "-infinity".into(),
        (0, 0, 0) => return "PT0S".into(),
        _ => {}
    }
    let part = |n: i64, unit: char| if n == 0 { String::new() } else { format!("{n}{unit}") };
    let date = [(i64::from(months) / 12, 'Y'), (i64::from(months) % 12, 'M'), (i64::from(days), 'D')];
    let mut text = String::from("P");
    text.extend(date.map(|(n, unit)| part(n, unit)));
    if micros != 0 {
        let seconds = micros / MICROS_PER_SECOND;
        text.push('T');
        text.extend([part(seconds / 3600, 'H'), part(seconds / 60 % 60, 'M')]);
        let rest = micros % (60 * MICROS_PER_SECOND);
        if rest != 0 {
            let sign = if rest < 0 { "-" } else { "" };
            let rest = rest.unsigned_abs().cast_signed();
            let _ = write!(text, "{sign}{}{}S", rest / MICROS_PER_SECOND, fraction(rest % MICROS_PER_SECOND));
        }
    }
    text
}

fn fraction(micros: i64) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() }
}

/// Year, month and day of a count of days from 2000-01-01, and the era. Years here begin in March, so that the leap
/// day is the last of its year; 400 of them always have 146,097 days.
fn day_text(days: i64) -> (String, &'static str) {
    let days = days + EPOCH_FROM_MARCH_0;
    let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}

#[cfg(test)]
mod tests {
    use super::{date, interval, time_with_zone, timestamp};

    #[test]
    fn days_and_their_edges() {
        assert_eq!(date(0), "2000-01-01");
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(date(-730_119), "0001-01-01");
        assert_eq!(date(-730_120), "0001-12-31 BC");
        assert_eq!(date(i32::MAX), "infinity");
        assert_eq!(timestamp(-1, "Z"), "1999-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(250_000, ""), "2000-01-01T00:00:00.25");
        assert_eq!(time_with_zone(0, -7200), "00:00:00+02:00");
        assert_eq!(time_with_zone(0, 5400), "00:00:00-01:30");
    }

    #[test]
    fn intervals_keep_the_sign_of_each_part() {
        assert_eq!(interval(14_706_500_000, 3, 14), "P1Y2M3DT4H5M6.5S");
        assert_eq!(interval(-1, 0, -1), "P-1MT-0.000001S");
        assert_eq!(interval(0, 0, 0), "PT0S");
        assert_eq!(interval(-3_600_000_000, 1, 0), "P1DT-1H");
    }
}
