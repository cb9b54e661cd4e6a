//! An error of a Redis in the words that fit an agent that listens itself, which to its clients is one.

use crate::channel::ChannelError;

/// `address` is the key of the configuration that says where the agent listens.
pub(super) fn of_an_agent(error: ChannelError, address: &str) -> ChannelError {
    let words = |sentence: String| in_words(sentence, address);
    match error {
        ChannelError::Unreachable { what, why } => ChannelError::Unreachable { what: words(what), why: words(why) },
        ChannelError::Refused { what, .. } if what.contains("is not the queue of this Kadabra agent") => {
            ChannelError::Refused { what, mend: "set channel.embedded.queue_key to that agent's".to_owned() }
        }
        ChannelError::Refused { what, mend } => ChannelError::Refused { what: words(what), mend: words(mend) },
        ChannelError::Unusable { what, mend } => ChannelError::Unusable { what: words(what), mend: words(mend) },
    }
}

fn in_words(sentence: String, address: &str) -> String {
    [
        (
            "check that Redis is running there, and the address in channel.redis.url",
            "check that the agent is running there (start it with kadabra run, or systemctl start kadabra), and the address in \
             channel.redis.url",
        ),
        ("has reached its maxmemory", "has no room left: its file is as large as channel.embedded.max_bytes allows"),
        (
            "raise maxmemory, or delete what fills it; what is queued is still taken",
            "see in its log, or by kadabra check --online, why messages are not published if many wait, delete dead letters, or \
             raise channel.embedded.max_bytes",
        ),
        (
            "mend what it says: it cannot save to its disk, or has too few replicas",
            "mend what it says: it cannot write to its disk",
        ),
        ("raise its maxclients", "raise channel.embedded.max_connections"),
        (
            "correct channel.redis.password_file, or the user and password in channel.redis.url",
            "correct channel.redis.password_file",
        ),
        (
            "is the address of a Redis and not of a proxy or another service",
            "is the address of the agent and not of another service",
        ),
        ("look into the log of that Redis", "look into the log of that agent"),
        ("channel.redis.url", address),
        ("channel.redis", "channel.embedded"),
    ]
    .into_iter()
    .fold(sentence, |sentence, (of_a_redis, of_an_agent)| sentence.replace(of_a_redis, of_an_agent))
}
