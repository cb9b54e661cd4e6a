//! What sections check with: values that are each right and may not be right together.

use std::time::Duration;

use super::{
    error::Problem,
    schema::{Key, said_of},
    setting::Setting,
    values::{Found, Values},
};

/// The values that hold, and what was found to be wrong between them.
pub(super) struct CrossChecks<'a> {
    values: &'a Values,
    problems: &'a mut Vec<Problem>,
}

impl<'a> CrossChecks<'a> {
    pub(super) fn new(values: &'a Values, problems: &'a mut Vec<Problem>) -> Self {
        Self { values, problems }
    }

    /// The value of a key, unless it is unset or wrong.
    pub(super) fn get<T: Setting>(&self, key: &'static Key) -> Option<T> {
        T::of(self.values, key)
    }

    /// What holds for a key, and where that stands.
    pub(super) fn found(&self, key: &'static Key) -> Found {
        self.values.found(key)
    }

    /// Whether there is such a key beside what other keys of its section are.
    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.values.has_key(key)
    }

    /// That something is wrong with what holds for a key.
    pub(super) fn report(&mut self, found: &Found, sentence: impl Into<String>) {
        let sentence = sentence.into();
        let of_one = self.values.publisher().map(|publisher| said_of(publisher, &sentence));
        self.problems.push(found.problem(of_one.unwrap_or(sentence)));
    }

    /// That one duration is no longer than another.
    pub(super) fn no_longer(&mut self, short: &'static Key, long: &'static Key) {
        self.ordered::<Duration>((short, long), |short, long| short <= long, "a duration", ("no longer", "no shorter"));
    }

    /// That one duration is shorter than another.
    pub(super) fn shorter(&mut self, short: &'static Key, long: &'static Key) {
        self.ordered::<Duration>((short, long), |short, long| short < long, "a duration", ("shorter", "longer"));
    }

    /// That one size is no larger than another.
    pub(super) fn no_larger(&mut self, small: &'static Key, large: &'static Key) {
        self.ordered::<u64>((small, large), |small, large| small <= large, "a size", ("no larger", "no smaller"));
    }

    /// Names, of two values in the wrong order, the one that a source has.
    fn ordered<T: Setting>(
        &mut self,
        (less, more): (&'static Key, &'static Key),
        is_right: fn(&T, &T) -> bool,
        what: &str,
        relations: (&str, &str),
    ) {
        if self.get(less).zip(self.get(more)).is_none_or(|(less, more)| is_right(&less, &more)) {
            return;
        }
        let (less, more) = (self.found(less), self.found(more));
        let (blamed, other, relation) = if more.origin.is_some() { (more, less, relations.1) } else { (less, more, relations.0) };
        self.report(&blamed, format!("expected {what} {relation} than {}", other.described_to(&blamed)));
    }

    /// That a user who logs in has a password.
    pub(super) fn user_with_password(&mut self, user: &'static Key, password_file: &'static Key) {
        let found = self.found(user);
        if !found.is_unset() && self.found(password_file).is_unset() {
            self.report(&found, format!("a user without a password; expected {password_file} too"));
        }
    }

    /// That at most one of two keys is set.
    pub(super) fn not_both(&mut self, one: &'static Key, other: &'static Key) {
        let (one, other) = (self.found(one), self.found(other));
        if !one.is_unset() && !other.is_unset() {
            self.report(&other, format!("not together with {}; expected one of the two", one.described_to(&other)));
        }
    }
}
