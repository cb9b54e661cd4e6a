//! A value that must not be seen.

use std::{borrow::Cow, fmt, sync::Arc};

use super::password_file::PasswordFile;

/// A password, or a URL that may hold one. Prints as `***` whatever one does; [`Secret::expose`] and [`Secret::now`] are the
/// ways in.
#[derive(Clone)]
pub struct Secret {
    /// As it was when it was made.
    value: String,
    /// Where it is kept, if it is read again from there.
    file: Option<Arc<PasswordFile>>,
}

impl Secret {
    /// Hides a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), file: None }
    }

    /// A password that was read from this file, and is read again each time it is needed.
    pub(super) fn in_file(path: &str, value: String) -> Self {
        Self { file: Some(Arc::new(PasswordFile::new(path, &value))), value }
    }

    /// The value as it was when the configuration was read.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The value as it is now, for the connection that needs it: that of its file, which is read for it, or the last one that
    /// could be read there.
    #[must_use]
    pub fn now(&self) -> Cow<'_, str> {
        match &self.file {
            Some(file) => Cow::Owned(file.password()),
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
