//! The URLs of a configuration: what each server's may hold, and how one is shown without its secrets.

use redis::IntoConnectionInfo as _;
use url::Url;

const HIDDEN: &str = "***";

/// Whether a Redis client can use it; the error is a sentence.
pub(super) fn redis(text: &str) -> Result<(), String> {
    let url = parse(text, "redis://localhost:6379/0")?;
    let (parameters, socket): (&[&str], bool) = match url.scheme() {
        "redis" | "rediss" => (&["protocol"], false),
        "unix" | "redis+unix" => (&["db", "user", "pass", "protocol"], true),
        _ => return Err("expected a URL that starts with redis://, rediss:// (TLS) or unix://".to_owned()),
    };
    if !socket && url.host().is_none() {
        return Err("expected a URL with a host such as redis://localhost:6379/0".to_owned());
    }
    // unix://run/redis.sock has a host called run; only a shell replaces ~.
    let is_absolute = url.host_str().is_none_or(str::is_empty) && url.path().len() > 1 && !url.path().starts_with("/~");
    if socket && !is_absolute {
        return Err(
            "expected the absolute path of a socket after unix://, so three slashes, as in unix:///run/redis.sock".to_owned()
        );
    }
    // A parameter that the client does not know it would ignore.
    if url.query_pairs().any(|(name, _)| !parameters.contains(&name.as_ref())) {
        return Err(format!("expected no parameters but {}", parameters.join(", ")));
    }
    // #insecure would switch the check of the certificate off.
    if url.fragment().is_some() {
        return Err("expected a URL without a #fragment".to_owned());
    }
    let database = match url.query_pairs().find(|(name, _)| name == "db") {
        Some((_, number)) => number.into_owned(),
        None if socket => String::new(),
        None => url.path().trim_matches('/').to_owned(),
    };
    if !database.is_empty() && database.parse::<u32>().is_err() {
        let example = if socket { "unix:///run/redis.sock?db=0" } else { "redis://localhost:6379/0" };
        return Err(format!("expected a database number as in {example}"));
    }
    // The client's own sentence fits whatever else is wrong; its words are constants.
    url.into_connection_info().map(drop).map_err(|why| {
        let why = why.to_string();
        let reason = why.split(" - ").next().unwrap_or_default().replacen("Cannot", "cannot", 1);
        format!("expected a URL that names a Redis server: {reason}")
    })
}

/// The URL without a slash at its end; the error is a sentence.
pub(super) fn http(text: &str, example: &str) -> Result<String, String> {
    let url = parse(text, example)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected a URL that starts with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("expected a URL without user and password; they go into username and password_file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("expected a URL without ?query and #fragment; what is said there has keys of its own".to_owned());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn parse(text: &str, example: &str) -> Result<Url, String> {
    if !text.contains("://") {
        return Err(format!("expected a URL such as {example}; there is no :// in it"));
    }
    let url = Url::parse(text).map_err(|why| format!("expected a URL such as {example}: {why}"))?;
    if url.cannot_be_a_base() { Err(format!("expected a URL such as {example}")) } else { Ok(url) }
}

/// A URL that may be seen: scheme, host, port and path; a user only when a password tells which of the two it is.
pub(super) fn shown(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return HIDDEN.to_owned() };
    // An @ after the host is a password with a slash in it; without // nothing tells what is what.
    let strays = url.path().contains('@') || url.fragment().is_some_and(|fragment| fragment.contains('@'));
    if url.cannot_be_a_base() || strays {
        return HIDDEN.to_owned();
    }
    let hidden = match (url.username(), url.password()) {
        ("", None) if url.query().is_none() => return text.to_owned(),
        ("", None) => Ok(()),
        (_, Some(_)) => url.set_password(Some(HIDDEN)),
        (_, None) => url.set_username(HIDDEN),
    };
    if hidden.is_err() {
        return HIDDEN.to_owned();
    }
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    if url.query().is_some() {
        url.query_pairs_mut().clear().extend_pairs(parameters.iter().map(|(name, value)| match name.as_str() {
            "db" | "user" | "protocol" => (name.as_str(), value.as_str()),
            "pass" => ("pass", HIDDEN),
            _ => (HIDDEN, HIDDEN),
        }));
    }
    url.to_string()
}

/// The scheme of a URL, in small letters.
pub(super) fn scheme(text: &str) -> Option<String> {
    Url::parse(text).ok().map(|url| url.scheme().to_owned())
}

/// Whether a Redis URL names a user, and whether it holds a password.
pub(super) fn redis_login(text: &str) -> (bool, bool) {
    let Ok(url) = Url::parse(text) else { return (false, false) };
    let has = |wanted: &str| url.query_pairs().any(|(name, _)| name == wanted);
    (!url.username().is_empty() || has("user"), url.password().is_some() || has("pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "http://localhost:8086";

    #[test]
    fn takes_what_the_servers_take() {
        for good in [
            "redis://localhost:6379/0",
            "redis://10.0.0.1",
            "rediss://user:p%40ss@redis.example.com:6380/3",
            "redis://[::1]:6379/1?protocol=resp3",
            "unix:///run/redis/redis.sock",
            "redis+unix:///run/redis.sock?db=2&user=u&pass=p",
        ] {
            assert_eq!(redis(good), Ok(()), "{good}");
        }
        assert_eq!(http("http://localhost:8086/", EXAMPLE).as_deref(), Ok("http://localhost:8086"));
        assert_eq!(http("https://example.com/influx/", EXAMPLE).as_deref(), Ok("https://example.com/influx"));
    }

    #[test]
    fn refuses_what_the_client_would_ignore_or_find_out_later() {
        for bad in [
            "localhost:6379",
            "localhost",
            "http://localhost",
            "redis://",
            "redis:///0",
            "redis://localhost/zero",
            "redis://localhost/-1",
            "redis://localhost/0/1",
            "redis://localhost?db=1",
            "rediss://localhost#insecure",
            "redis://localhost:99999",
            "redis://0.0.0.0",
            "unix://host/path",
            "unix://run/redis.sock",
            "unix://~/redis.sock",
            "unix:///~/redis.sock",
            "unix:///",
            "unix:///run/redis.sock?db=x",
        ] {
            assert!(redis(bad).is_err(), "{bad}");
        }
        for bad in ["localhost:8086", "ftp://localhost", "http://", "http://u:p@h", "http://h?db=x", "http://h#x", ""] {
            assert!(http(bad, EXAMPLE).is_err(), "{bad}");
        }
    }

    #[test]
    fn shows_no_secret_however_it_is_written() {
        for text in [
            "redis://:hunter2@localhost",
            "redis://user:hunter2@localhost/1",
            "redis://hunter2@localhost",
            "redis://user:1/hunter2@localhost",
            "redis://user:1#hunter2@localhost",
            "redis://user:1?hunter2@localhost",
            "redis:hunter2@localhost",
            "redis//:hunter2@localhost",
            "unix:///run/redis.sock?pass=hunter2&db=1",
            "http://localhost?u=root&p=hunter2",
        ] {
            assert!(!shown(text).contains("hunter2"), "{text} is shown as {}", shown(text));
            for error in [redis(text).err(), http(text, EXAMPLE).err()].into_iter().flatten() {
                assert!(!error.contains("hunter2"), "{text}: {error}");
            }
        }
        assert_eq!(shown("redis://user:hunter2@localhost:6379/1"), "redis://user:***@localhost:6379/1");
        assert_eq!(shown("redis://localhost:6379/0"), "redis://localhost:6379/0");
    }
}
