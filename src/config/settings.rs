//! The settings from values that are known to be right.

use std::time::Duration;

use super::values::Values;
use super::{
    Agent, Batch, Channel, Debug, DebugFormat, Durability, Embedded, Influxdb, Log, LogFormat, Nanny, Publisher, PublisherKind,
    Redis, Secret, Settings, Supervisor, schema,
};

/// What was read from the password files of the sections that are in use.
pub(super) struct Passwords {
    pub(super) redis: Option<Secret>,
    pub(super) embedded: Option<Secret>,
    pub(super) influxdb: Option<Secret>,
}

/// `None` only if a key's kind in the schema is not the type of its setting.
pub(super) fn build(values: &Values, passwords: Passwords) -> Option<Settings> {
    Some(Settings {
        agent: Agent { name: values.get("agent.name")?, shutdown_timeout: values.get("agent.shutdown_timeout")? },
        channel: match values.get::<String>("channel.type")?.as_str() {
            "redis" => Channel::Redis(redis(values, passwords.redis)?),
            "embedded" => Channel::Embedded(embedded(values, passwords.embedded)?),
            _ => return None,
        },
        batch: Batch {
            interval: values.get("batch.interval")?,
            max_messages: values.get("batch.max_messages")?,
            max_bytes: values.get("batch.max_bytes")?,
        },
        publisher: Publisher {
            kind: match values.get::<String>("publisher.type")?.as_str() {
                "debug" => PublisherKind::Debug(debug(values)?),
                "influxdb" => PublisherKind::Influxdb(influxdb(values, passwords.influxdb)?),
                _ => return None,
            },
            workers: values.get("publisher.workers")?,
            backoff_min: values.get("publisher.backoff_min")?,
            backoff_max: values.get("publisher.backoff_max")?,
        },
        nanny: Nanny {
            frequency: values.get("nanny.frequency")?,
            threshold: values.get("nanny.threshold")?,
            warn_age: values.get("nanny.warn_age")?,
            warn_messages: values.get("nanny.warn_messages")?,
        },
        supervisor: Supervisor {
            max_restarts: values.get("supervisor.max_restarts")?,
            window: values.get("supervisor.window")?,
            backoff_min: values.get("supervisor.backoff_min")?,
            backoff_max: values.get("supervisor.backoff_max")?,
            hang_timeout: values.get("supervisor.hang_timeout")?,
        },
        log: Log {
            level: values.get::<String>("log.level")?.parse().ok()?,
            format: match values.get::<String>("log.format")?.as_str() {
                "auto" => LogFormat::Auto,
                "terminal" => LogFormat::Terminal,
                "json" => LogFormat::Json,
                _ => return None,
            },
        },
    })
}

fn redis(values: &Values, password: Option<Secret>) -> Option<Redis> {
    Some(Redis {
        url: values.get("channel.redis.url")?,
        password,
        queue_key: values.get("channel.redis.queue_key")?,
        inprogress_key: values.get("channel.redis.inprogress_key")?,
        lease: values.get("channel.redis.lease")?,
        timeout: values.get("channel.redis.timeout")?,
        max_dead_letters: values.get("channel.redis.max_dead_letters")?,
        max_message_bytes: values.get("channel.redis.max_message_bytes")?,
    })
}

fn embedded(values: &Values, password: Option<Secret>) -> Option<Embedded> {
    Some(Embedded {
        path: values.get::<String>("channel.embedded.path")?.into(),
        durability: match values.get::<String>("channel.embedded.durability")?.as_str() {
            "process" => Durability::Process,
            "fsync" => Durability::Fsync,
            _ => return None,
        },
        max_bytes: values.get("channel.embedded.max_bytes")?,
        lease: values.get("channel.embedded.lease")?,
        max_dead_letters: values.get("channel.embedded.max_dead_letters")?,
        max_message_bytes: values.get("channel.embedded.max_message_bytes")?,
        listen: values.get("channel.embedded.listen")?,
        unix_socket: values.get::<String>("channel.embedded.unix_socket").map(Into::into),
        unix_socket_mode: schema::mode(&values.get::<String>("channel.embedded.unix_socket_mode")?),
        queue_key: values.get("channel.embedded.queue_key")?,
        password: password.or_else(|| values.get("channel.embedded.password")),
        allow_remote: values.get("channel.embedded.allow_remote")?,
        allow_delete: values.get("channel.embedded.allow_delete")?,
        max_connections: values.get("channel.embedded.max_connections")?,
        idle_timeout: values
            .get::<Duration>("channel.embedded.idle_timeout")
            .map(|long| Some(long).filter(|long| !long.is_zero()))?,
        tcp_keepalive: values
            .get::<Duration>("channel.embedded.tcp_keepalive")
            .map(|long| Some(long).filter(|long| long.as_secs() > 0))?,
        max_waiting_bytes: values.get("channel.embedded.max_waiting_bytes")?,
    })
}

fn debug(values: &Values) -> Option<Debug> {
    let format = match values.get::<String>("publisher.debug.format")?.as_str() {
        "auto" => DebugFormat::Auto,
        "text" => DebugFormat::Text,
        "json" => DebugFormat::Json,
        _ => return None,
    };
    Some(Debug { format })
}

fn influxdb(values: &Values, password: Option<Secret>) -> Option<Influxdb> {
    // The one version there is needs no setting.
    values.get::<String>("publisher.influxdb.api").filter(|api| api == "v1")?;
    Some(Influxdb {
        url: values.get("publisher.influxdb.url")?,
        database: values.get("publisher.influxdb.database")?,
        username: values.get("publisher.influxdb.username"),
        password: password.or_else(|| values.get("publisher.influxdb.password")),
        retention_policy: values.get("publisher.influxdb.retention_policy"),
        create_database: values.get("publisher.influxdb.create_database")?,
        timeout: values.get("publisher.influxdb.timeout")?,
        gzip: values.get("publisher.influxdb.gzip")?,
        unique_timestamps: values.get("publisher.influxdb.unique_timestamps")?,
    })
}
