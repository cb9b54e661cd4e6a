//! The types of settings, each made of what its key's value type has accepted.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Proxy, Secret, Tls, schema::Key, value_type::Checked, values::Values};

/// The type of a field in a section's struct.
pub(super) trait Setting: Sized {
    /// The value of a key; absent where the key is unset or wrong, or its value type does not fit this type.
    fn of(values: &Values, key: &'static Key) -> Option<Self>;
}

macro_rules! settings {
    ($($type:ty: $checked:pat => $value:expr;)+) => {$(
        impl Setting for $type {
            fn of(values: &Values, key: &'static Key) -> Option<Self> {
                match values.checked(key)? {
                    $checked => $value,
                    _ => None,
                }
            }
        }
    )+};
}

settings! {
    String: Checked::Text(text) => Some(text);
    PathBuf: Checked::Text(text) => Some(text.into());
    slog::Level: Checked::Text(text) => text.parse().ok();
    Secret: Checked::Secret(secret) => Some(secret);
    Vec<SocketAddr>: Checked::Addresses(addresses) => Some(addresses);
    Duration: Checked::Duration(duration) => Some(duration);
    bool: Checked::Flag(flag) => Some(flag);
    u64: Checked::Number(number) => Some(number);
    usize: Checked::Number(number) => number.try_into().ok();
    u32: Checked::Number(number) => number.try_into().ok();
}

macro_rules! optional {
    ($($type:ty),+) => {$(
        impl Setting for Option<$type> {
            fn of(values: &Values, key: &'static Key) -> Option<Self> {
                Some(<$type>::of(values, key))
            }
        }
    )+};
}

optional! { String, PathBuf, usize }

/// None where it is unset.
impl Setting for Vec<String> {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        match values.checked(key) {
            Some(Checked::Texts(texts)) => Some(texts),
            _ => Some(Self::new()),
        }
    }
}

/// Without a limit where it is zero.
impl Setting for Option<Duration> {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        Some(Duration::of(values, key).filter(|duration| !duration.is_zero()))
    }
}

/// What the section says of TLS in this key and in those beside it.
impl Setting for Tls {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        Some(values.tls_of(key.section()))
    }
}

/// None where that is said, or where nothing is said.
impl Setting for Option<Proxy> {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        let Some(Checked::Secret(url)) = values.checked(key) else { return Some(None) };
        Some(Proxy::of(url.expose(), key, values.found(key).origin.as_ref()))
    }
}

/// The password in the file that the section names, or the key's own.
impl Setting for Option<Secret> {
    fn of(values: &Values, key: &'static Key) -> Option<Self> {
        Some(values.secret_of(key.section()).or_else(|| Secret::of(values, key)))
    }
}
