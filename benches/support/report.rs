//! Tables and targets as Markdown, which is what a bench prints and what it writes down.

use std::fmt::{self, Display, Write as _};

/// A table whose columns line up.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self { rows: vec![columns.map(str::to_owned).to_vec()] }
    }

    /// Appends a row; the first column is a name, the others are figures.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.rows[0].len());
        self.rows.push(cells.to_vec());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(line, "| {cell:<width$} |")?;
                } else {
                    write!(line, " {cell:>width$} |")?;
                }
            }
            writeln!(f, "{line}")?;
            if index == 0 {
                let rule = widths.iter().enumerate().map(|(column, width)| {
                    if column == 0 { format!("|{}|", "-".repeat(width + 2)) } else { format!("{}:|", "-".repeat(width + 1)) }
                });
                writeln!(f, "{}", rule.collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// What was aimed at, and whether it was reached.
#[derive(Debug)]
pub(crate) struct Targets(Table);

impl Targets {
    pub(crate) fn new() -> Self {
        Self(Table::new(["target", "wanted", "measured", ""]))
    }

    pub(crate) fn at_least(&mut self, what: &str, wanted: f64, measured: f64, unit: &str) {
        self.add(what, format!("≥ {}", figure(wanted)), measured, unit, measured >= wanted);
    }

    pub(crate) fn at_most(&mut self, what: &str, wanted: f64, measured: f64, unit: &str) {
        self.add(what, format!("≤ {}", figure(wanted)), measured, unit, measured <= wanted);
    }

    fn add(&mut self, what: &str, wanted: String, measured: f64, unit: &str, reached: bool) {
        let measured = if measured.is_nan() { "–".to_owned() } else { format!("{}{unit}", figure(measured)) };
        let verdict = match (measured.as_str(), reached) {
            ("–", _) => "not measured",
            (_, true) => "ok",
            (_, false) => "**missed**",
        };
        self.0.row([what.to_owned(), format!("{wanted}{unit}"), measured, verdict.to_owned()]);
    }
}

impl Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number with as many digits as it deserves: three, and thousands apart.
pub(crate) fn figure(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        0.0 => 0,
        small if small >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').map_or((text.as_str(), String::new()), |(whole, part)| (whole, format!(".{part}")));
    let part = part.trim_end_matches('0').trim_end_matches('.');
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut apart = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            apart.push(',');
        }
        apart.push(digit);
    }
    format!("{sign}{apart}{part}")
}

/// Bytes as MB, of 10⁶ bytes.
pub(crate) fn megabytes(bytes: f64) -> f64 {
    bytes / 1e6
}
