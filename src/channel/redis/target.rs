//! Where Redis is: the URL, with its secrets for the connection and without them for people.

use redis::{ConnectionInfo, IntoConnectionInfo};
use url::Url;

use crate::{channel::ChannelError, config};

/// The connection's parameters, and the URL without user, password and query.
pub(super) fn parse(settings: &config::Redis) -> Result<(ConnectionInfo, String), ChannelError> {
    let unusable = |what: &str| ChannelError::Unusable {
        what: what.to_owned(),
        mend: "write channel.redis.url as redis://host:6379/0, rediss://host:6379/0 for TLS, or unix:///path/to/socket"
            .to_owned(),
    };
    // The parsers' own words are left out: they may quote the URL.
    let url = Url::parse(settings.url.expose()).map_err(|_| unusable("channel.redis.url is not a URL"))?;
    let info = url.clone().into_connection_info().map_err(|_| unusable("channel.redis.url is not the URL of a Redis"))?;
    Ok((info, printable(&url)))
}

fn printable(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Secret;

    fn settings(url: &str) -> config::Redis {
        config::Redis {
            url: Secret::new(url),
            password: None,
            tls: config::Tls::default(),
            queue_key: "q".into(),
            inprogress_key: "p".into(),
            lease: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            max_dead_letters: 10_000,
            max_message_bytes: 4 << 20,
        }
    }

    #[test]
    fn a_printed_url_holds_no_secret() {
        for (url, printed) in [
            ("redis://user:hunter2@db.example:6380/3", "redis://db.example:6380/3"),
            ("rediss://:hunter2@[::1]/0?password=hunter2", "rediss://[::1]/0"),
            ("unix:///run/redis.sock?pass=hunter2&user=u&db=2", "unix:///run/redis.sock"),
        ] {
            assert_eq!(parse(&settings(url)).unwrap().1, printed);
        }
        for wrong in ["hunter2", "http://u:hunter2@host/", "redis://u:hunter2@host/hunter2", "redis://u:hunter2@host:99999999"] {
            let said = parse(&settings(wrong)).unwrap_err().to_string();
            assert!(!said.contains("hunter2") && said.contains("channel.redis.url"), "{said}");
        }
    }
}
