//! The keys of Kadabra's Python agent, which an operator who moves over may write into this configuration.

/// Each with what does the same here. Those that begin with CLIENT_ are the Python client's, and stay with it.
const KEYS: &[(&str, &str)] = &[
    ("AGENT_TYPE", "\"batched\" is batch.interval = \"60s\" here, \"default\" batch.interval = \"0s\""),
    ("AGENT_LOGGER_NAME", "see log.level and log.format"),
    ("AGENT_CHANNEL_TYPE", "see channel.type"),
    ("AGENT_CHANNEL_ARGS", "see the keys of [channel.redis], of which url is host, port and db"),
    ("AGENT_PUBLISHER_TYPE", "see publisher.type"),
    ("AGENT_PUBLISHER_ARGS", "see the keys of [publisher.influxdb], of which url is host and port"),
    ("AGENT_RECEIVER_THREADS", "see publisher.workers"),
    ("BATCHED_AGENT_INTERVAL_SECONDS", "see batch.interval"),
    ("BATCHED_AGENT_MAX_BATCH_SIZE", "see batch.max_messages"),
    ("AGENT_NANNY_FREQUENCY_SECONDS", "see nanny.frequency"),
    ("AGENT_NANNY_THRESHOLD_SECONDS", "see nanny.threshold"),
    ("AGENT_NANNY_QUERY_LIMIT", "nothing here needs it"),
    ("AGENT_NANNY_THREADS", "nothing here needs it"),
    ("BATCHED_AGENT_NANNY_MAX_BATCH_SIZE", "see batch.max_messages"),
];

/// What to do about a name, if it is one of those keys; written in small letters or in a section it is the same mistake.
pub(super) fn instead_of(path: &str) -> Option<String> {
    let name = path.rsplit('.').next().unwrap_or(path).to_uppercase();
    let (name, meant) = KEYS.iter().find(|(other, _)| *other == name)?;
    Some(format!("{name} is a key of Kadabra's Python agent; {meant}"))
}
