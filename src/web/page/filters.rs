//! How the templates show numbers, times, and what comes from outside.

// What the attribute makes of a function is `pub`, wherever it stands.
#![allow(unreachable_pub)]

use std::borrow::Borrow;

use askama::{Result, Values};
use jiff::Timestamp;

use crate::{quote, status::figures};

/// A whole number: `1,240`.
#[askama::filter_fn]
pub(super) fn count(number: impl Borrow<u64>, _: &dyn Values) -> Result<String> {
    Ok(figures::count(*number.borrow()))
}

/// A measured value: `12.5`.
#[askama::filter_fn]
pub(super) fn number(number: impl Borrow<f64>, _: &dyn Values) -> Result<String> {
    Ok(figures::number(*number.borrow()))
}

/// So many a second: `1,240/s`.
#[askama::filter_fn]
pub(super) fn rate(per_second: impl Borrow<f64>, _: &dyn Values) -> Result<String> {
    Ok(figures::rate(*per_second.borrow()))
}

/// A time in seconds: `12 ms`.
#[askama::filter_fn]
pub(super) fn seconds(seconds: impl Borrow<f64>, _: &dyn Values) -> Result<String> {
    Ok(figures::seconds(*seconds.borrow()))
}

/// A size: `1.2 MiB`.
#[askama::filter_fn]
pub(super) fn bytes(bytes: impl Borrow<u64>, _: &dyn Values) -> Result<String> {
    Ok(figures::bytes(*bytes.borrow()))
}

/// A moment to the second, of the day in UTC: `04:12:03`.
#[askama::filter_fn]
pub(super) fn clock(at: &Timestamp, _: &dyn Values) -> Result<String> {
    Ok(at.strftime("%H:%M:%S").to_string())
}

/// A moment to the second, in UTC: `2026-11-27 04:12:03`.
#[askama::filter_fn]
pub(super) fn day(at: &Timestamp, _: &dyn Values) -> Result<String> {
    Ok(at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// What comes from outside, with an escape for whatever hides or turns the direction of text.
#[askama::filter_fn]
pub(super) fn outside(text: impl AsRef<str>, _: &dyn Values) -> Result<String> {
    Ok(quote::printable(text.as_ref()))
}

/// The same of several lines, which stay lines.
#[askama::filter_fn]
pub(super) fn lines(text: impl AsRef<str>, _: &dyn Values) -> Result<String> {
    Ok(text.as_ref().lines().map(quote::printable).collect::<Vec<_>>().join("\n"))
}
