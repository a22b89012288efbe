//! When images are fetched: how often, and at which time of the day.
//!
//! Pure: the time, with its zone, is an argument.

use jiff::civil::{Date, Time};
use jiff::{Span, SpanRelativeTo, ToSpan as _, Unit, Zoned};
use serde::Deserialize;
use std::str::FromStr;

/// How often. A day has as many hours as the time zone gives it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Interval(Span);

/// A part of each day, in local time. It may begin on one day and end on the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DailyWindow {
    start: Time,
    end: Time,
}

/// When images are fetched.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// How often.
    pub every: Interval,
    /// Only then, if it is set.
    pub between: Option<DailyWindow>,
}

/// The text does not say when. The text of the error is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the field is the text")]
pub enum ScheduleError {
    #[error("{0:?} is no interval of a minute to a year: write it as \"1 day\", \"12 hours\" or \"1 week\"")]
    Interval(String),
    #[error("{0:?} is no part of a day: write it as \"01:00-06:00\", or \"22:00-05:00\" over midnight")]
    Window(String),
}

impl Default for Interval {
    fn default() -> Self {
        Self(1.day())
    }
}

impl FromStr for Interval {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let seconds = |span: Span| span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok();
        let span = text.trim().parse().ok();
        let span = span.filter(|span| seconds(*span).is_some_and(|s| (60.0..=366.0 * 86_400.0).contains(&s)));
        span.map(Self).ok_or_else(|| ScheduleError::Interval(text.to_owned()))
    }
}

impl FromStr for DailyWindow {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        let window = text.split_once('-').and_then(|(start, end)| {
            let (start, end) = (time(start)?, time(end)?);
            (start != end).then_some(Self { start, end })
        });
        window.ok_or_else(|| ScheduleError::Window(text.to_owned()))
    }
}

impl TryFrom<String> for Interval {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl TryFrom<String> for DailyWindow {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl DailyWindow {
    /// The beginning and the end of the one that this time is in, or else of the next. On a day whose clocks skip all of it,
    /// there is none. `None` only after the last day of the calendar.
    #[must_use]
    pub fn at_or_after(self, time: &Zoned) -> Option<(Zoned, Zoned)> {
        let Self { start, end } = self;
        let windows = (-1..=2).filter_map(|days| {
            let date = time.date().checked_add(days.days()).ok()?;
            let last = if end < start { date.tomorrow().ok()? } else { date };
            let zoned = |date: Date, at| date.to_datetime(at).to_zoned(time.time_zone().clone());
            Some((zoned(date, start).ok()?, zoned(last, end).ok()?))
        });
        windows.into_iter().find(|(begin, end)| begin < end && time < end)
    }
}

impl Schedule {
    /// When the next run begins, `now` at the earliest. `last` is when the last one began, if there was one. Runs that were
    /// missed are made up for by one.
    #[must_use]
    pub fn next(&self, last: Option<&Zoned>, now: &Zoned) -> Zoned {
        // One in the future is of a clock that was wrong.
        let last = last.filter(|last| *last <= now);
        let due = last.and_then(|last| last.checked_add(self.every.0).ok()).unwrap_or_else(|| now.clone());
        let Some(window) = self.between else { return due.max(now.clone()) };
        let Some((begin, _)) = window.at_or_after(&due) else { return due };
        // A late run must not make all that follow late.
        let due = if last.is_none_or(|last| *last < begin) { begin.min(due) } else { due };
        let from = due.max(now.clone());
        window.at_or_after(&from).map_or(from.clone(), |(begin, _)| begin.max(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use jiff::civil::DateTime;
    use jiff::tz::TimeZone;

    fn schedule(every: &str, between: Option<&str>) -> Schedule {
        Schedule { every: every.parse().unwrap(), between: between.map(|text| text.parse().unwrap()) }
    }

    /// In the zone of Berlin, which needs no database here.
    fn at(time: &str) -> Zoned {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        match time.parse::<Timestamp>() {
            Ok(time) => time.to_zoned(zone),
            Err(_) => time.parse::<DateTime>().unwrap().to_zoned(zone).unwrap(),
        }
    }

    fn assert_next(schedule: Schedule, last: Option<&str>, now: &str, expected: &str) {
        let next = schedule.next(last.map(at).as_ref(), &at(now));
        assert_eq!(next, at(expected), "{schedule:?} {last:?} {now}");
    }

    #[test]
    fn runs_that_were_missed_are_made_up_for_by_one() {
        let daily = schedule("1 day", None);
        assert_next(daily, None, "2026-06-10T12:00", "2026-06-10T12:00");
        assert_next(daily, Some("2026-06-10T12:00"), "2026-06-10T12:01", "2026-06-11T12:00");
        assert_next(daily, Some("2026-06-01T12:00"), "2026-06-10T08:00", "2026-06-10T08:00");
        assert_next(daily, Some("2027-01-01T12:00"), "2026-06-10T08:00", "2026-06-10T08:00");
        let nightly = schedule("1 day", Some("01:00-06:00"));
        assert_next(nightly, None, "2026-06-10T12:00", "2026-06-11T01:00");
        assert_next(nightly, None, "2026-06-10T05:59", "2026-06-10T05:59");
        assert_next(nightly, Some("2026-06-01T01:00"), "2026-06-10T06:00", "2026-06-11T01:00");
        assert_next(nightly, Some("2026-06-10T05:50"), "2026-06-10T05:55", "2026-06-11T01:00");
        assert_next(
            schedule("12h", Some("01:00-06:00")),
            Some("2026-06-10T01:00"),
            "2026-06-10T01:30",
            "2026-06-11T01:00",
        );
        assert_next(
            schedule("1h", Some("01:00-06:00")),
            Some("2026-06-10T02:00"),
            "2026-06-10T02:30",
            "2026-06-10T03:00",
        );
        assert_next(
            schedule("1 week", Some("01:00-06:00")),
            Some("2026-06-10T01:00"),
            "2026-06-10T07:00",
            "2026-06-17T01:00",
        );
    }

    #[test]
    fn a_window_may_be_over_midnight() {
        let nightly = schedule("1 day", Some("22:00-05:00"));
        for (now, expected) in [
            ("2026-06-10T21:59", "2026-06-10T22:00"),
            ("2026-06-10T23:00", "2026-06-10T23:00"),
            ("2026-06-11T04:59", "2026-06-11T04:59"),
            ("2026-06-11T05:00", "2026-06-11T22:00"),
        ] {
            assert_next(nightly, None, now, expected);
        }
        assert_next(nightly, Some("2026-06-11T01:00"), "2026-06-11T01:01", "2026-06-11T22:00");
        let window: DailyWindow = "22:00-05:00".parse().unwrap();
        let (begin, end) = window.at_or_after(&at("2026-06-11T01:00")).unwrap();
        assert_eq!((begin, end), (at("2026-06-10T22:00"), at("2026-06-11T05:00")));
    }

    #[test]
    fn clocks_that_change_move_nothing() {
        // 02:00 to 03:00 is skipped on March 29, 2026, and is there twice on October 25.
        let nightly = schedule("1 day", Some("01:00-06:00"));
        assert_next(nightly, Some("2026-03-28T01:00"), "2026-03-28T12:00", "2026-03-29T01:00");
        assert_next(nightly, Some("2026-03-29T01:00"), "2026-03-29T12:00", "2026-03-30T01:00");
        assert_next(
            schedule("1 day", None),
            Some("2026-03-28T12:00"),
            "2026-03-28T13:00",
            "2026-03-29T12:00",
        );
        let skipped = schedule("1 day", Some("02:00-03:00"));
        assert_next(skipped, Some("2026-03-28T02:00"), "2026-03-28T12:00", "2026-03-30T02:00");
        let twice: DailyWindow = "02:00-03:00".parse().unwrap();
        let (begin, end) = twice.at_or_after(&at("2026-10-25T01:00")).unwrap();
        assert_eq!(end.duration_since(&begin).as_hours(), 2);
        assert_next(skipped, Some("2026-10-25T02:00+02:00"), "2026-10-25T02:30+01:00", "2026-10-26T02:00");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "0 days", "-1 day", "10 s", "2 years", "1 month", "daily"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
        for text in ["", "01:00", "01:00-01:00", "1-6", "25:00-01:00", "01:00-06:00-07:00"] {
            assert!(text.parse::<DailyWindow>().is_err(), "{text}");
        }
    }
}
