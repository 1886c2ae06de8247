//! When a secret is rotated: `AutomaticallyAfterDays`, `rate(..)` and `cron(..)`, and the windows that follow from them
//! (user guide, "Rotation schedules"). All in UTC.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::{
    refusal::{Outcome, Refusal},
    rotation::Rules,
};

/// A secret can be rotated as often as every four hours, and the longest period is 999 days.
const HOURS: std::ops::RangeInclusive<i64> = 4..=999 * 24;
const DAYS: std::ops::RangeInclusive<i64> = 1..=999;

/// `AutomaticallyAfterDays` (the service model).
const AFTER_DAYS: std::ops::RangeInclusive<i64> = 1..=1000;

/// No day fits an expression that fits none in so many: the rarest is a 29th of February on a given day of the week.
const FARTHEST_DAYS: u32 = 366 * 41;

/// The time in which a rotation is to happen, in seconds since 1970. AWS rotates at any time in it, the lab when it
/// opens. `NextRotationDate` is its end: the rotation happens "on or before this date".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) opens: f64,
    pub(crate) closes: f64,
}

/// A schedule, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schedule {
    every: Every,
    /// The length of the window in hours; none is the usual one.
    hours: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Every {
    Hours(i64),
    Days(i64),
    Cron(Cron),
}

/// The fields of `cron(0 HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK *)`, each as a set of bits.
#[derive(Clone, Debug, PartialEq)]
struct Cron {
    hours: u64,
    days: Days,
    months: u64,
    weekdays: Weekdays,
}

#[derive(Clone, Debug, PartialEq)]
enum Days {
    Any,
    Of(u64),
    Last,
}

/// Days of the week from 1 for Sunday.
#[derive(Clone, Debug, PartialEq)]
enum Weekdays {
    Any,
    Of(u64),
    /// The last one of a month: `6L`.
    Last(i8),
    /// The first, second .. of a month: `2#1`.
    Nth(i8, i8),
}

fn wrong(message: impl Into<String>) -> Refusal {
    Refusal::new("InvalidParameterException", message)
}

impl Schedule {
    /// The schedule of these rules; none when they name none.
    pub(crate) fn read(rules: &Rules) -> Outcome<Option<Self>> {
        let every = match (rules.after_days, rules.schedule.as_deref()) {
            (Some(_), Some(_)) => {
                return Err(wrong("You can't specify both AutomaticallyAfterDays and ScheduleExpression."));
            }
            (Some(days), None) if !AFTER_DAYS.contains(&days) => {
                return Err(wrong("RotationRules.AutomaticallyAfterDays must be within 1-1000."));
            }
            (Some(days), None) => Every::Days(days),
            (None, Some(text)) => expression(text)
                .ok_or_else(|| wrong(format!("The ScheduleExpression {text} is no rate() or cron() expression.")))?,
            (None, None) => return Ok(None),
        };
        let hours = rules.duration.as_deref().map(duration).transpose()?;
        let schedule = Self { every, hours };
        if hours.is_some_and(|hours| hours > schedule.longest_window()) {
            return Err(wrong(
                "The rotation window must not extend into the next rotation window or the next UTC day.",
            ));
        }
        Ok(Some(schedule))
    }

    fn longest_window(&self) -> i64 {
        match &self.every {
            Every::Hours(hours) => *hours,
            Every::Days(_) => 24,
            Every::Cron(cron) => 24 - i64::from(cron.hours.ilog2()),
        }
    }

    /// The first window that opens after this moment.
    pub(crate) fn next(&self, after: f64) -> Option<Window> {
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a clock")]
        let from = Timestamp::from_second(after.floor() as i64).ok()?.to_zoned(TimeZone::UTC).datetime();
        let (opens, usual) = match &self.every {
            Every::Hours(hours) => {
                let hour = from.date().at(from.hour(), 0, 0, 0);
                (hour.checked_add(hours.hours()).ok()?, 1)
            }
            Every::Days(days) => (from.date().checked_add(days.days()).ok()?.at(0, 0, 0, 0), 24),
            Every::Cron(cron) => {
                let opens = cron.next(from)?;
                let in_hours = cron.hours.count_ones() > 1;
                (opens, if in_hours { 1 } else { 24 - i64::from(opens.hour()) })
            }
        };
        let opens = second(opens)?;
        // The last second that belongs to it.
        let length = 3600 * self.hours.unwrap_or(usual) - 1;
        Some(Window { opens, closes: opens + f64::from(i32::try_from(length).ok()?) })
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are small")]
fn second(at: DateTime) -> Option<f64> {
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second() as f64)
}

/// `3h` as hours.
fn duration(text: &str) -> Outcome<i64> {
    let hours = text.strip_suffix('h').and_then(|digits| digits.parse().ok()).filter(|hours| (1..=24).contains(hours));
    hours.ok_or_else(|| {
        let message = "1 validation error detected: Value at 'rotationRules.duration' failed to satisfy constraint: \
            Member must satisfy regular expression pattern: [0-9]+h";
        Refusal::new("ValidationException", message)
    })
}

fn expression(text: &str) -> Option<Every> {
    let (kind, inner) = text.trim().strip_suffix(')')?.split_once('(')?;
    let words: Vec<&str> = inner.split_whitespace().collect();
    match (kind, words.as_slice()) {
        ("rate", [value, unit]) => {
            let value: i64 = value.parse().ok()?;
            match *unit {
                "hour" | "hours" if HOURS.contains(&value) => Some(Every::Hours(value)),
                "day" | "days" if DAYS.contains(&value) => Some(Every::Days(value)),
                _ => None,
            }
        }
        // Windows open on the hour, and schedules are not more than a year apart.
        ("cron", ["0", hours, days, months, weekdays, "*"]) => Some(Every::Cron(Cron {
            hours: set(hours, 0, 23, &[])?,
            days: match *days {
                "*" | "?" => Days::Any,
                "L" => Days::Last,
                text => Days::Of(set(text, 1, 31, &[])?),
            },
            months: set(months, 1, 12, &MONTHS)?,
            weekdays: self::weekdays(weekdays)?,
        })),
        _ => None,
    }
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

fn weekdays(text: &str) -> Option<Weekdays> {
    if matches!(text, "*" | "?") {
        return Some(Weekdays::Any);
    }
    if let Some((day, nth)) = text.split_once('#') {
        let nth = nth.parse().ok().filter(|nth| (1..=5).contains(nth))?;
        return Some(Weekdays::Nth(i8::try_from(number(day, 1, 7, &WEEKDAYS)?).ok()?, nth));
    }
    match text.strip_suffix('L') {
        Some("") => Some(Weekdays::Of(1 << 7)),
        Some(day) => Some(Weekdays::Last(i8::try_from(number(day, 1, 7, &WEEKDAYS)?).ok()?)),
        None => Some(Weekdays::Of(set(text, 1, 7, &WEEKDAYS)?)),
    }
}

/// A number, or one of the names that begin at `low`.
fn number(text: &str, low: u32, high: u32, names: &[&str]) -> Option<u32> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let value = match named {
        Some(place) => u32::try_from(place).ok()? + low,
        None => text.parse().ok()?,
    };
    (low..=high).contains(&value).then_some(value)
}

/// `1,3-5,8/2` as bits.
fn set(text: &str, low: u32, high: u32, names: &[&str]) -> Option<u64> {
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok().filter(|step| *step > 0)?)),
            None => (item, None),
        };
        let (from, to) = match range {
            "*" | "" => (low, high),
            _ => match range.split_once('-') {
                Some((from, to)) => (number(from, low, high, names)?, number(to, low, high, names)?),
                None => {
                    let from = number(range, low, high, names)?;
                    (from, if step.is_some() { high } else { from })
                }
            },
        };
        for value in (from..=to).step_by(step.unwrap_or(1)) {
            bits |= 1 << value;
        }
    }
    (bits != 0).then_some(bits)
}

impl Cron {
    fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        for _ in 0..FARTHEST_DAYS {
            if self.fits(date) {
                let hours = (0..24_i8).filter(|hour| self.hours & (1 << hour) != 0);
                let found = hours.map(|hour| date.at(hour, 0, 0, 0)).find(|at| *at > after);
                if found.is_some() {
                    return found;
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn fits(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_one_offset();
        let in_month = self.months & (1 << date.month()) != 0;
        let is_day = match self.days {
            Days::Any => true,
            Days::Of(days) => days & (1 << date.day()) != 0,
            Days::Last => date.day() == date.days_in_month(),
        };
        let is_weekday = match self.weekdays {
            Weekdays::Any => true,
            Weekdays::Of(days) => days & (1 << weekday) != 0,
            Weekdays::Last(day) => weekday == day && date.day() + 7 > date.days_in_month(),
            Weekdays::Nth(day, nth) => weekday == day && (date.day() - 1) / 7 + 1 == nth,
        };
        in_month && is_day && is_weekday
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Rules, Schedule};

    /// A Friday.
    const NOW: &str = "2026-11-20T10:30:00Z";

    fn rules(days: Option<i64>, schedule: &str, duration: &str) -> Rules {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Rules { after_days: days, schedule: some(schedule), duration: some(duration) }
    }

    fn window(rules: &Rules) -> String {
        let now: Timestamp = NOW.parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let window = Schedule::read(rules).unwrap().unwrap().next(now.as_second() as f64).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let text = |at: f64| Timestamp::from_second(at as i64).unwrap().strftime("%m-%dT%H:%M:%S").to_string();
        format!("{} {}", text(window.opens), text(window.closes))
    }

    #[test]
    fn windows_open_when_the_user_guide_says() {
        let rows = [
            (Some(7), "", "", "11-27T00:00:00 11-27T23:59:59"),
            (Some(1), "", "3h", "11-21T00:00:00 11-21T02:59:59"),
            (None, "rate(10 days)", "", "11-30T00:00:00 11-30T23:59:59"),
            (None, "rate(4 hours)", "", "11-20T14:00:00 11-20T14:59:59"),
            (None, "cron(0 8 1 * ? *)", "", "12-01T08:00:00 12-01T23:59:59"),
            (None, "cron(0 20 L * ? *)", "2h", "11-30T20:00:00 11-30T21:59:59"),
            (None, "cron(0 4/12 * * ? *)", "", "11-20T16:00:00 11-20T16:59:59"),
            (None, "cron(0 10 ? * FRI *)", "", "11-27T10:00:00 11-27T23:59:59"),
            (None, "cron(0 0 ? * 2#1 *)", "", "12-07T00:00:00 12-07T23:59:59"),
            (None, "cron(0 1 ? DEC,MAR 6L *)", "", "12-25T01:00:00 12-25T23:59:59"),
            (None, "cron(0 /8 */2 1-3 ? *)", "", "01-01T00:00:00 01-01T00:59:59"),
        ];
        for (days, schedule, duration, wanted) in rows {
            assert_eq!(window(&rules(days, schedule, duration)), wanted, "{days:?} {schedule} {duration}");
        }
        assert_eq!(Schedule::read(&Rules::default()).unwrap(), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let rows = [
            (Some(0), "", ""),
            (Some(1001), "", ""),
            (Some(1), "rate(1 day)", ""),
            (None, "rate(3 hours)", ""),
            (None, "rate(1000 days)", ""),
            (None, "rate(x days)", ""),
            (None, "cron(5 8 1 * ? *)", ""),
            (None, "cron(0 8 1 * ? 2027)", ""),
            (None, "cron(0 24 1 * ? *)", ""),
            (None, "cron(0 8 0 * ? *)", ""),
            (None, "every day", ""),
            (None, "rate(4 hours)", "5h"),
            (None, "cron(0 20 * * ? *)", "5h"),
        ];
        for (days, schedule, duration) in rows {
            let refused = Schedule::read(&rules(days, schedule, duration)).unwrap_err();
            assert_eq!(refused.code, "InvalidParameterException", "{days:?} {schedule} {duration}");
        }
        for duration in ["25h", "h", "3"] {
            assert_eq!(Schedule::read(&rules(Some(1), "", duration)).unwrap_err().code, "ValidationException");
        }
    }
}
