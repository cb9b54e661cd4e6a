//! Where Redis is and how to log in there: with the secrets for connections, and without them for people.

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use url::Url;

use super::{
    client::Login,
    cluster::Cluster,
    errors::{self, Names},
    route::Route,
    sentinel::{self, Sentinels},
    stream::Way,
};
use crate::{
    channel::ChannelError,
    config::{self, HostAndPort, RedisMode},
};

/// All that a configuration says of it.
pub(super) struct Target {
    pub(super) route: Route,
    pub(super) login: Login,
    /// Without secrets.
    pub(super) shown: String,
    /// What an operator calls what can be set of it.
    pub(super) names: &'static Names,
}

impl Target {
    pub(super) fn of(settings: &config::Redis) -> Result<Self, ChannelError> {
        let login = |settings_of_it| Login { settings: settings_of_it, password: settings.password.clone() };
        Ok(match &settings.mode {
            RedisMode::Single(url) => {
                let (info, shown) = parse(url.expose())?;
                let route = Route::Single(Way::new(&info, &settings.tls)?);
                Self { route, login: login(info.redis_settings().clone()), shown, names: errors::KEYS }
            }
            RedisMode::Sentinel { nodes, master_name, user, database, use_tls, sentinel } => Self {
                route: Route::Sentinels(Sentinels::of(sentinel::Settings {
                    nodes: nodes.clone(),
                    master_name: master_name.clone(),
                    sentinel: sentinel.clone(),
                    tls_of_primary: use_tls.then(|| settings.tls.clone()),
                })),
                login: login(of_user(user.as_deref()).set_db((*database).into())),
                shown: format!("{master_name} of the Sentinels at {}", listed(nodes)),
                names: errors::SENTINEL_KEYS,
            },
            RedisMode::Cluster { nodes, user, use_tls } => Self {
                route: Route::Cluster(Cluster::new(nodes, settings.queue_key.first(), use_tls.then(|| settings.tls.clone()))),
                login: login(of_user(user.as_deref())),
                shown: format!("the cluster at {}", listed(nodes)),
                names: errors::CLUSTER_KEYS,
            },
        })
    }
}

/// A login that still wants its password.
pub(super) fn of_user(user: Option<&str>) -> RedisConnectionInfo {
    let settings = RedisConnectionInfo::default();
    user.map_or(settings.clone(), |user| settings.set_username(user))
}

/// A host and its port as one text.
pub(super) fn address((host, port): &HostAndPort) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn listed(nodes: &[HostAndPort]) -> String {
    nodes.iter().map(address).collect::<Vec<_>>().join(", ")
}

/// The connection's parameters, and the URL without user, password and query.
fn parse(url: &str) -> Result<(ConnectionInfo, String), ChannelError> {
    let unusable = |what: &str| ChannelError::Unusable {
        what: what.to_owned(),
        mend: "write channel.redis.url as redis://host:6379/0, rediss://host:6379/0 for TLS, or unix:///path/to/socket"
            .to_owned(),
    };
    // The parsers' own words are left out: they may quote the URL.
    let url = Url::parse(url).map_err(|_| unusable("channel.redis.url is not a URL"))?;
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
    use super::*;

    #[test]
    fn a_printed_url_holds_no_secret() {
        for (url, printed) in [
            ("redis://user:hunter2@db.example:6380/3", "redis://db.example:6380/3"),
            ("rediss://:hunter2@[::1]/0?password=hunter2", "rediss://[::1]/0"),
            ("unix:///run/redis.sock?pass=hunter2&user=u&db=2", "unix:///run/redis.sock"),
        ] {
            assert_eq!(parse(url).unwrap().1, printed);
        }
        for wrong in ["hunter2", "http://u:hunter2@host/", "redis://u:hunter2@host/hunter2", "redis://u:hunter2@host:99999999"] {
            let said = parse(wrong).unwrap_err().to_string();
            assert!(!said.contains("hunter2") && said.contains("channel.redis.url"), "{said}");
        }
    }
}
