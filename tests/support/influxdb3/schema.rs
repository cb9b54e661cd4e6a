//! Tables and the types of their columns, and how a line fits them: `influxdb3_write/src/write_buffer/validator.rs` and
//! `influxdb3_catalog/src/catalog/versions/v2/update.rs` of v3.6.0.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::stored::{FieldValue, Line},
    lines::Parsed,
    now,
};

/// How much a server takes: <https://docs.influxdata.com/influxdb3/core/admin/databases/>.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) databases: usize,
    /// In all databases together.
    pub(crate) tables: usize,
    /// Of a table, its tags among them.
    pub(crate) columns: usize,
    /// That are tags, of a table.
    pub(crate) tags: usize,
}

/// The types of columns, by the names of tables and columns.
pub(super) type Tables = BTreeMap<String, BTreeMap<String, &'static str>>;

const TAG: &str = "iox::column_type::tag";
pub(super) const TIME: &str = "iox::column_type::timestamp";

/// Nanoseconds of the unit of a time, and its name; `None` for a precision that is not known.
pub(super) fn unit(precision: &str, time: i64) -> Option<(i64, &'static str)> {
    Some(match precision {
        "s" | "second" => (1_000_000_000, "Second"),
        "ms" | "millisecond" => (1_000_000, "Millisecond"),
        "us" | "u" | "microsecond" => (1000, "Microsecond"),
        "ns" | "n" | "nanosecond" => (1, "Nanosecond"),
        // Guessed by how large it is.
        "auto" => {
            let unit = match time.unsigned_abs() / 1_000_000_000 {
                0..5 => 1_000_000_000,
                5..5_000 => 1_000_000,
                5_000..5_000_000 => 1000,
                _ => 1,
            };
            (unit, "Auto")
        }
        _ => return None,
    })
}

fn kind(value: &FieldValue) -> &'static str {
    match value {
        FieldValue::Float(_) => "iox::column_type::field::float",
        FieldValue::Integer(_) => "iox::column_type::field::integer",
        FieldValue::Unsigned(_) => "iox::column_type::field::uinteger",
        FieldValue::Text(_) => "iox::column_type::field::string",
        FieldValue::Boolean(_) => "iox::column_type::field::boolean",
    }
}

pub(super) fn arrow_type(kind: &str) -> &'static str {
    match kind {
        "iox::column_type::field::float" => "Float64",
        "iox::column_type::field::integer" => "Int64",
        "iox::column_type::field::uinteger" => "UInt64",
        "iox::column_type::field::string" => "Utf8",
        "iox::column_type::field::boolean" => "Boolean",
        TAG => "Dictionary(Int32, Utf8)",
        _ => "Timestamp(Nanosecond, None)",
    }
}

/// Fits a line to the schema, which gets what is new; what got there before an error stays. With it come the keys of its tags.
pub(super) fn qualify(
    line: &Parsed,
    tables: &mut Tables,
    limits: Limits,
    of_others: usize,
    precision: &str,
) -> Result<(Line, Vec<String>), String> {
    if !tables.contains_key(&line.measurement) && tables.len() + of_others >= limits.tables {
        return Err(format!("Update to schema would exceed number of tables limit of {} tables", limits.tables));
    }
    let columns = tables.entry(line.measurement.clone()).or_default();
    for (key, _) in &line.tags {
        column(columns, key, TAG, limits)?;
    }
    let mut seen = BTreeSet::new();
    for (key, value) in &line.fields {
        column(columns, key, kind(value), limits)?;
        if !seen.insert(key) {
            return Err(format!("invalid line protocol - multiple instances of '{key}' field found"));
        }
    }
    columns.insert("time".to_owned(), TIME);
    let time = match line.time {
        Some(time) => {
            let (unit, name) = unit(precision, time).unwrap();
            time.checked_mul(unit).ok_or_else(|| format!("timestamp, {time}, out of range for precision: {name}"))?
        }
        None => now(),
    };
    let keys = line.tags.iter().map(|(key, _)| key.clone()).collect();
    let tags = line.tags.iter().cloned().collect();
    Ok((Line { measurement: line.measurement.clone(), tags, fields: line.fields.clone(), time }, keys))
}

/// Sees that a column is of a type, and makes it if there is none.
fn column(columns: &mut BTreeMap<String, &'static str>, name: &str, kind: &'static str, limits: Limits) -> Result<(), String> {
    match columns.get(name) {
        Some(known) if *known == kind => return Ok(()),
        Some(known) => return Err(format!("invalid column type for column '{name}', expected {known}, got {kind}")),
        None => {}
    }
    if name.chars().any(char::is_control) {
        let sort = if kind == TAG { "tag" } else { "field" };
        return Err(format!("invalid configuration provided: {sort} key cannot contain control characters"));
    }
    if kind == TAG && columns.values().filter(|kind| **kind == TAG).count() >= limits.tags {
        return Err(format!("Update to schema would exceed number of tag columns per table limit of {} columns", limits.tags));
    }
    if ["time", "__chunk_order"].contains(&name) {
        return Err(format!("'{name}' is a reserved column"));
    }
    if columns.len() >= limits.columns {
        return Err(format!("Update to schema would exceed number of columns per table limit of {} columns", limits.columns));
    }
    columns.insert(name.to_owned(), kind);
    Ok(())
}
