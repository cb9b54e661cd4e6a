//! A metric's metadata: which entries become fields, and whether all of these can.

use std::ops::Range;

use super::raw::{Raw, RawField};
use super::sentence::{Source, cut, quote};
use crate::wire::{Field, MessageSet, Scalar};

/// Up to so many entries, duplicates are found faster by looking at all pairs than by sorting.
const FEW: usize = 16;

/// The metadata of one metric.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) source: Source<'a>,
    pub(super) fields: &'a [RawField],
    pub(super) timer: bool,
}

impl<'a> Fields<'a> {
    /// Why the metric is refused, if it is.
    pub(super) fn judge(self) -> Result<(), String> {
        if let Some(key) = self.fields.iter().map(|field| field.name).find(|name| !matches!(name, Raw::Text(_))) {
            return Err(format!("the metadata has as a key {}", self.source.describe(key)));
        }
        self.each(|name, value| {
            let wrong = match value {
                Raw::NotFinite(word) => format!("is {}, which is not a finite number", cut(self.source.text(word))),
                Raw::BigInt(digits) => format!("holds the integer {}, which does not fit 64 bits", cut(self.source.text(digits))),
                Raw::Surrogate(text) => format!("holds {}", self.source.surrogate(text)),
                Raw::TooDeep => "is nested deeper than 64 levels".to_owned(),
                _ => return Ok(()),
            };
            Err(format!("the metadata {} {wrong}", quote(name)))
        })
    }

    /// Appends the fields to the set; `None` when it is full. What [`Fields::judge`] refuses does not belong here.
    pub(super) fn push_into(self, set: &mut MessageSet) -> Option<Range<u32>> {
        let start = u32::try_from(set.fields.len()).ok()?;
        self.each(|name, value| {
            let name = set.push_text(name).ok_or(())?;
            let value = match value {
                Raw::Bool(value) => Scalar::Bool(value),
                Raw::Int(value) => Scalar::Int(value),
                Raw::Float(value) => Scalar::Float(value),
                Raw::Text(piece) | Raw::Json(piece) => Scalar::Text(set.push_text(self.source.text(piece)).ok_or(())?),
                _ => return Err(()),
            };
            set.fields.push(Field { name, value });
            Ok(())
        })
        .ok()?;
        Some(start..u32::try_from(set.fields.len()).ok()?)
    }

    /// Calls `take` with the entries that become fields: of several of one name the last, none without a name, no null, and
    /// none that the metric's own value and unit overwrite.
    fn each<E>(self, mut take: impl FnMut(&'a str, Raw) -> Result<(), E>) -> Result<(), E> {
        let many = if self.fields.len() > FEW { self.superseded() } else { Vec::new() };
        for (index, field) in self.fields.iter().enumerate() {
            let Raw::Text(name) = field.name else { continue };
            let name = self.source.text(name);
            let overwritten = name == "value" || (name == "unit" && self.timer);
            if name.is_empty() || overwritten || matches!(field.value, Raw::Null) {
                continue;
            }
            let superseded = if self.fields.len() > FEW {
                many.get(index) == Some(&true)
            } else {
                self.fields.iter().skip(index + 1).any(|later| self.is_named(later, name))
            };
            if !superseded {
                take(name, field.value)?;
            }
        }
        Ok(())
    }

    fn is_named(self, field: &RawField, name: &str) -> bool {
        matches!(field.name, Raw::Text(piece) if piece.len as usize == name.len() && self.source.text(piece) == name)
    }

    /// For each entry, whether another of the same name is behind it. In little memory, since there may be very many.
    fn superseded(self) -> Vec<bool> {
        let name = |index: u32| match self.fields.get(index as usize)?.name {
            Raw::Text(name) => Some(self.source.text(name)),
            _ => None,
        };
        let mut order: Vec<u32> = (0..u32::try_from(self.fields.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by(|one, other| name(*one).cmp(&name(*other)).then(one.cmp(other)));
        let mut superseded = vec![false; self.fields.len()];
        for (one, next) in order.iter().zip(order.iter().skip(1)) {
            if name(*one) == name(*next)
                && let Some(superseded) = superseded.get_mut(*one as usize)
            {
                *superseded = true;
            }
        }
        superseded
    }
}
