//! What the fields of a timestamp add up to, by the rules of Python's `_strptime`.

use super::pattern::{Hour, Values, Week};
use crate::wire::civil;

/// Microseconds since 1970 in UTC; `None` when there is no such day or time, or Python would not take the combination.
pub(super) fn micros(values: &Values) -> Option<i64> {
    let iso = iso_week_date(values)?;
    let (month, day) = (values.month.unwrap_or(1), values.day.unwrap_or(1));
    // A 29 February without a year is looked at in a leap year and then put into 1900, which has none.
    let yearless_leap_day = values.year.is_none() && month == 2 && day == 29;
    let year = values.year.unwrap_or(if yearless_leap_day { 1904 } else { 1900 });

    let mut ordinal = match (values.day_of_year, values.weekday, values.week) {
        (Some(day_of_year), ..) => civil::ordinal(year, 1, 1)? + day_of_year - 1,
        (None, Some(weekday), Some(week)) if iso.is_none() => week_date(year, week, weekday)?,
        _ => match iso {
            Some(ordinal) => ordinal,
            None => civil::ordinal(year, month, day)?,
        },
    };
    if yearless_leap_day {
        let (_, month, day) = civil::date_of(civil::days_of_ordinal(ordinal)?)?;
        ordinal = civil::ordinal(1900, month, day)?;
    }
    let days = civil::days_of_ordinal(ordinal)?;

    let hour = match values.hour {
        None => 0,
        Some(Hour::Of24(hour)) => hour,
        Some(Hour::Of12(hour)) => hour % 12 + if values.afternoon == Some(true) { 12 } else { 0 },
    };
    let second = values.second.unwrap_or(0);
    // The pattern lets a leap second through; Python's datetime does not hold one.
    if second > 59 {
        return None;
    }
    let offset = values.offset.transpose().ok()?.unwrap_or(0);
    let seconds = ((days * 24 + hour) * 60 + values.minute.unwrap_or(0)) * 60 + second;
    Some(seconds * 1_000_000 + values.micros.unwrap_or(0) - offset)
}

/// The ordinal of an ISO year, week and weekday: `Some(None)` when the timestamp is not of that kind, `None` when it is of
/// a mixed kind that Python refuses.
fn iso_week_date(values: &Values) -> Option<Option<i64>> {
    match (values.year, values.iso_year) {
        (None, Some(iso_year)) => {
            let (Some(week), Some(weekday), None) = (values.iso_week, values.weekday, values.day_of_year) else { return None };
            // With %U or %W as well Python reckons from the year 1900 and that week.
            if values.week.is_some() {
                return Some(None);
            }
            let correction = civil::weekday(civil::ordinal(iso_year, 1, 4)?) + 4;
            let ordinal = civil::ordinal(iso_year, 1, 1)? - 1 + week * 7 + weekday + 1 - correction;
            civil::days_of_ordinal(ordinal)?;
            Some(Some(ordinal))
        }
        _ if values.week.is_none() && values.iso_week.is_some() => None,
        _ => Some(None),
    }
}

/// The ordinal of a weekday in a week of a year, weeks before the first Sunday or Monday being week 0.
fn week_date(year: i64, week: Week, weekday: i64) -> Option<i64> {
    let first = civil::ordinal(year, 1, 1)?;
    let first_weekday = civil::weekday(first);
    let (week, first_weekday, weekday) = match week {
        Week::FromMonday(week) => (week, first_weekday, weekday),
        Week::FromSunday(week) => (week, (first_weekday + 1) % 7, (weekday + 1) % 7),
    };
    let day_of_year =
        if week == 0 { 1 + weekday - first_weekday } else { 1 + (7 - first_weekday) % 7 + 7 * (week - 1) + weekday };
    // Week 0 may begin in the year before, which has to exist.
    if day_of_year <= 0 && year == 1 {
        return None;
    }
    Some(first + day_of_year - 1)
}
