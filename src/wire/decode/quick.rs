//! A quick way to read what Kadabra's clients usually write, at a fraction of the general reader's cost.
//!
//! It fills the same [`RawMessage`] as `read` in one pass over the bytes, and gives up at anything unusual: an escape, a
//! key that comes twice, a list or an object where none belongs, a number that is not plain, white space that `json.dumps` does
//! not write. The general reader then starts anew, and alone knows the rules: giving up is never wrong, another
//! answer always is. Keys are known by their bytes and not by their place, since older Pythons write them in any order.

mod token;

use self::token::Tokens;
use super::raw::{Raw, RawDimension, RawField, RawMessage, RawMetric};
use super::shape::Reader;
use crate::wire::memory_budget::MemoryBudget;

/// Reads one message into the reader's [`RawMessage`], or gives up, and then what is in it means nothing.
pub(super) fn read(text: &str, budget: MemoryBudget, reader: &mut Reader) -> bool {
    reader.begin(text, Vec::new(), budget);
    Tokens::new(text).is_some_and(|tokens| Quick { tokens, raw: &mut reader.raw }.message().is_some())
}

/// Every `None` in here gives up.
struct Quick<'a> {
    tokens: Tokens<'a>,
    raw: &'a mut RawMessage,
}

impl Quick<'_> {
    fn message(&mut self) -> Option<()> {
        self.raw.this = Raw::Object;
        self.object(|quick| {
            if quick.tokens.key(b"\"dimensions\":") {
                is_new(quick.raw.dimensions.this)?;
                quick.raw.dimensions.begin(Raw::List);
                quick.list(|quick| {
                    let dimension = quick.dimension()?;
                    let RawMessage { budget, dimensions, .. } = &mut *quick.raw;
                    budget.push(&mut dimensions.items, dimension).ok()
                })
            } else if quick.tokens.key(b"\"counters\":") {
                is_new(quick.raw.counters.this)?;
                quick.raw.counters.begin(Raw::List);
                quick.list(|quick| {
                    let counter = quick.metric()?;
                    let RawMessage { budget, counters, .. } = &mut *quick.raw;
                    budget.push(&mut counters.items, counter).ok()
                })
            } else if quick.tokens.key(b"\"timers\":") {
                is_new(quick.raw.timers.this)?;
                quick.raw.timers.begin(Raw::List);
                quick.list(|quick| {
                    let timer = quick.metric()?;
                    let RawMessage { budget, timers, .. } = &mut *quick.raw;
                    budget.push(&mut timers.items, timer).ok()
                })
            } else if quick.tokens.key(b"\"timestamp_format\":") {
                is_new(quick.raw.timestamp_format)?;
                quick.raw.timestamp_format = quick.tokens.scalar()?;
                Some(())
            } else {
                quick.tokens.skip_entry()
            }
        })?;
        self.tokens.end()
    }

    fn dimension(&mut self) -> Option<RawDimension> {
        let mut dimension = RawDimension { this: Raw::Object, ..RawDimension::default() };
        self.object(|quick| {
            if quick.tokens.key(b"\"name\":") {
                quick.scalar_into(&mut dimension.name)
            } else if quick.tokens.key(b"\"value\":") {
                quick.scalar_into(&mut dimension.value)
            } else {
                quick.tokens.skip_entry()
            }
        })?;
        Some(dimension)
    }

    fn metric(&mut self) -> Option<RawMetric> {
        let mut metric = RawMetric { this: Raw::Object, ..RawMetric::default() };
        self.object(|quick| {
            if quick.tokens.key(b"\"name\":") {
                quick.scalar_into(&mut metric.name)
            } else if quick.tokens.key(b"\"metadata\":") {
                is_new(metric.metadata)?;
                let first = quick.raw.fields.len();
                quick.metadata()?;
                metric.metadata = Raw::Object;
                metric.fields = first..quick.raw.fields.len();
                Some(())
            } else if quick.tokens.key(b"\"timestamp\":") {
                quick.scalar_into(&mut metric.timestamp)
            } else if quick.tokens.key(b"\"value\":") {
                quick.scalar_into(&mut metric.value)
            } else if quick.tokens.key(b"\"unit\":") {
                is_new(metric.unit)?;
                metric.unit = Raw::Object;
                quick.unit(&mut metric.unit_name)
            } else {
                quick.tokens.skip_entry()
            }
        })?;
        Some(metric)
    }

    fn unit(&mut self, name: &mut Raw) -> Option<()> {
        self.object(|quick| if quick.tokens.key(b"\"name\":") { quick.scalar_into(name) } else { quick.tokens.skip_entry() })
    }

    /// Of a name that comes twice both entries are kept here, as by the general reader.
    fn metadata(&mut self) -> Option<()> {
        self.object(|quick| {
            let name = Raw::Text(quick.tokens.any_key()?);
            let value = quick.tokens.scalar()?;
            let RawMessage { budget, fields, .. } = &mut *quick.raw;
            budget.push(fields, RawField { name, value }).ok()
        })
    }

    fn scalar_into(&mut self, place: &mut Raw) -> Option<()> {
        is_new(*place)?;
        *place = self.tokens.scalar()?;
        Some(())
    }

    fn object(&mut self, entry: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.all(b'{', b'}', entry)
    }

    fn list(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.all(b'[', b']', item)
    }

    fn all(&mut self, open: u8, close: u8, mut part: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.tokens.take(open)?;
        if self.tokens.take(close).is_some() {
            return Some(());
        }
        loop {
            part(self)?;
            if self.tokens.take(close).is_some() {
                return Some(());
            }
            self.tokens.comma()?;
        }
    }
}

/// Gives up at a key that comes a second time: which of them counts is the general reader's business.
fn is_new(place: Raw) -> Option<()> {
    matches!(place, Raw::Absent).then_some(())
}
