//! The calendar: dates of the years 1 to 9999, as Python has them, to days and back.

const DAYS_BEFORE_1970: i64 = 719_162;
const LAST_ORDINAL: i64 = 3_652_059;

/// Whether a year has a 29 February.
pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to a date; `None` for a date that does not exist or is outside the years 1 to 9999.
pub(super) fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // A year that begins in March has its leap day last, so that months have a regular pattern of lengths.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (century, year_of_century) = (year.div_euclid(100), year.rem_euclid(100));
    let ordinal = century * 146_097 / 4 + year_of_century * 1461 / 4 + (month * 153 + 2) / 5 + day - 306;
    Some(ordinal - 1 - DAYS_BEFORE_1970)
}

/// The day's number with 0001-01-01 as 1, Python's `date.toordinal`.
pub(super) fn ordinal(year: i64, month: i64, day: i64) -> Option<i64> {
    days_since_1970(year, month, day).map(|days| days + DAYS_BEFORE_1970 + 1)
}

/// Days from 1970-01-01 to the day with this number, if it is in the years 1 to 9999.
pub(super) fn days_of_ordinal(ordinal: i64) -> Option<i64> {
    (1..=LAST_ORDINAL).contains(&ordinal).then(|| ordinal - 1 - DAYS_BEFORE_1970)
}

/// Monday is 0, Python's `date.weekday`.
pub(super) fn weekday(ordinal: i64) -> i64 {
    (ordinal + 6).rem_euclid(7)
}

/// Year, month and day of a day; `None` outside the years 1 to 9999.
pub(in crate::wire) fn date_of(days_since_1970: i64) -> Option<(i64, i64, i64)> {
    let ordinal = days_since_1970.checked_add(DAYS_BEFORE_1970 + 1)?;
    days_of_ordinal(ordinal)?;
    // Days since 0000-03-01; see `days_since_1970` for why March.
    let day = ordinal + 305;
    let (century, day_of_century) = ((day * 4 + 3) / 146_097, (day * 4 + 3) % 146_097 / 4);
    let (year_of_century, day_of_year) = ((day_of_century * 4 + 3) / 1461, (day_of_century * 4 + 3) % 1461 / 4);
    let (month, day) = ((day_of_year * 5 + 2) / 153, (day_of_year * 5 + 2) % 153 / 5 + 1);
    let year = century * 100 + year_of_century;
    Some(if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_goes_there_and_back() {
        let (first, last) = (days_since_1970(1600, 1, 1).unwrap(), days_since_1970(2001, 1, 1).unwrap());
        let mut previous = (0, 0, 0);
        for days in first..=last {
            let date = date_of(days).unwrap();
            assert!(date > previous);
            assert_eq!(days_since_1970(date.0, date.1, date.2), Some(days));
            previous = date;
        }
    }

    #[test]
    fn known_days_and_the_ends_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 2, 29), Some(11_016));
        assert_eq!(ordinal(1, 1, 1), Some(1));
        assert_eq!(ordinal(9999, 12, 31), Some(LAST_ORDINAL));
        assert_eq!(weekday(ordinal(2026, 3, 1).unwrap()), 6);
        for (year, month, day) in
            [(0, 1, 1), (10_000, 1, 1), (2026, 0, 1), (2026, 13, 1), (1900, 2, 29), (2026, 4, 31), (2026, 1, 0)]
        {
            assert_eq!(days_since_1970(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(date_of(i64::MAX), None);
        assert_eq!(date_of(days_since_1970(1, 1, 1).unwrap()), Some((1, 1, 1)));
        assert_eq!(date_of(days_since_1970(1, 1, 1).unwrap() - 1), None);
    }
}
