//! A value that must not be seen.

use std::{borrow::Cow, fmt, sync::Arc};

use super::reread::Reread;

/// A password, or a URL that may hold one. Prints as `***` whatever one does; [`Secret::expose`] and [`Secret::now`] are the
/// ways in.
#[derive(Clone)]
pub struct Secret {
    /// As it was when it was made.
    value: String,
    /// Where it is kept, if it is read again from there.
    file: Option<Arc<Reread<String>>>,
}

impl Secret {
    /// Hides a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// The password in a file, which is read again when it has changed.
    pub(super) fn in_file(file: Reread<String>) -> Self {
        Self { value: file.last().as_ref().clone(), file: Some(Arc::new(file)) }
    }

    /// The value as it was when the configuration was read.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The value as it is now, for the connection that needs it: that of its file, or the last one that could be read there.
    #[must_use]
    pub fn now(&self) -> Cow<'_, str> {
        match &self.file {
            Some(file) => Cow::Owned(file.now().as_ref().clone()),
            None => Cow::Borrowed(&self.value),
        }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
