//! Rows of text, of parts that stand out or do not; tables of them, and long ones on several lines.

use crate::quote::{cut, printable};

/// As what a part of a row stands out. It says nothing that the text does not say, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    #[default]
    Plain,
    Faint,
    Strong,
    Good,
    Attention,
    Bad,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Part {
    pub(in crate::cli) text: String,
    pub(in crate::cli) tone: Tone,
}

pub(in crate::cli) type Row = Vec<Part>;

/// A part, without anything in it that drives a terminal.
pub(in crate::cli) fn part(text: impl AsRef<str>, tone: Tone) -> Part {
    Part { text: printable(text.as_ref()), tone }
}

pub(in crate::cli) fn plain(text: impl AsRef<str>) -> Part {
    part(text, Tone::Plain)
}

/// On lines of this many characters, of which all but the first begin with so many spaces. A word that is longer goes on in the next line.
pub(super) fn wrapped(row: &[Part], width: usize, indent: usize) -> Vec<Row> {
    let width = width.max(indent + 8);
    let (mut lines, mut line, mut used) = (Vec::new(), Row::new(), 0);
    for Part { text, tone } in row {
        for word in text.split_inclusive(' ') {
            let mut rest = word;
            loop {
                let long = rest.trim_end_matches(' ').chars().count();
                if used + long > width && used > if lines.is_empty() { 0 } else { indent } {
                    lines.push(std::mem::take(&mut line));
                    line.push(plain(" ".repeat(indent)));
                    used = indent;
                    continue;
                }
                let end = rest.char_indices().nth(width - used).map_or(rest.len(), |(end, _)| end);
                let (now, later) = rest.split_at(end);
                line.push(Part { text: now.to_owned(), tone: *tone });
                used += now.chars().count();
                if later.trim_end_matches(' ').is_empty() {
                    break;
                }
                rest = later;
            }
        }
    }
    lines.push(line);
    lines
}

/// How a column of a table stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Left,
    /// For numbers.
    Right,
    /// The last one, of which as much is shown as there is room for.
    Rest,
}

/// Rows whose cells stand below each other.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<Part>>, width: usize) -> Vec<Row> {
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.chars().count()).max().unwrap_or(0))
        .collect();
    let aligned = rows.into_iter().map(|cells| {
        let mut row = Row::new();
        let mut used = 0;
        for ((cell, column), wide) in cells.into_iter().zip(columns).zip(&widths) {
            let gap = " ".repeat(wide - cell.text.chars().count());
            let between = if used == 0 { "" } else { "  " };
            used += between.len() + wide;
            match column {
                Column::Left => row.extend([plain(between), cell, plain(gap)]),
                Column::Right => row.extend([plain(between), plain(gap), cell]),
                Column::Rest => row.extend([plain(between), cell]),
            }
        }
        clipped(row, width)
    });
    aligned.collect()
}

/// As much of a row as there is room for.
pub(in crate::cli) fn clipped(row: Row, width: usize) -> Row {
    let mut left = width;
    let mut clipped = Row::new();
    for Part { text, tone } in row {
        let long = text.chars().count();
        if long > left {
            if left > 0 {
                clipped.push(Part { text: cut(&text, left - 1).into_owned(), tone });
            }
            break;
        }
        left -= long;
        clipped.push(Part { text, tone });
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| row.iter().map(|part| part.text.as_str()).collect()).collect()
    }

    #[test]
    fn a_long_row_is_on_lines_that_fit() {
        let row = [part("HELD ", Tone::Bad), plain("the database refuses the login; put the right one into the file")];
        let lines = texts(&wrapped(&row, 24, 5));
        assert_eq!(lines, ["HELD the database ", "     refuses the login; ", "     put the right one ", "     into the file"]);
        let long = "x".repeat(50);
        let lines = texts(&wrapped(&[plain(format!("a {long}"))], 20, 2));
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:?}");
        assert_eq!(lines.concat().matches('x').count(), 50);
        assert_eq!(texts(&wrapped(&[], 20, 2)), [""]);
    }

    #[test]
    fn cells_stand_below_each_other_and_no_row_is_too_wide() {
        let rows = vec![vec![plain("a"), plain("1,000"), plain("more of this")], vec![plain("long"), plain("7"), plain("")]];
        let columns = [Column::Left, Column::Right, Column::Rest];
        assert_eq!(texts(&table(&columns, rows.clone(), 80)), ["a     1,000  more of this", "long      7  "]);
        assert_eq!(texts(&table(&columns, rows, 17)), ["a     1,000  mor…", "long      7  "]);
    }

    #[test]
    fn nothing_drives_a_terminal() {
        assert_eq!(plain("a\u{1b}[2J\n\u{202e}").text, "a\\u{1b}[2J\\n\\u{202e}");
    }
}
