//! How the queue stands, and what of that an operator should know before pushes are refused.

use std::time::Duration;

use bytesize::ByteSize;

use super::EmbeddedChannel;
use crate::{
    channel::{Channel, ChannelError, Patience, Pressure, Threat, Warning},
    metrics,
};

/// The share of the room in use from which on there is little left, in per cent.
const SHORT_OF_ROOM: u64 = 80;

/// See [`Channel::pressure`].
pub(super) async fn pressure(channel: &EmbeddedChannel, patience: &Patience) -> Result<Pressure, ChannelError> {
    let stand = channel.store.stand().await?;
    let settings = channel.store.settings();
    let facts = Facts {
        path: settings.path.display().to_string(),
        queued: channel.store.counts()?.0,
        age: stand.oldest.as_deref().and_then(|glance| age(glance, jiff::Timestamp::now().as_second())),
        used: stand.used,
        max_bytes: settings.max_bytes,
        dead: stand.dead,
        max_dead_letters: settings.max_dead_letters as u64,
        letters_dropped: channel.book().tally().letters_dropped,
        unsafe_because: channel.store.unsafe_because(),
        damaged: channel.store.damaged(),
    };
    Ok(Pressure { warnings: facts.warnings(patience), unknown: Vec::new() })
}

/// For how long a message has waited, if its beginning or its end says when it was queued.
fn age(glance: &[u8], now: i64) -> Option<Duration> {
    let text = String::from_utf8_lossy(glance);
    let queued = metrics::queued_at(field(&text, "serialized_at")?, field(&text, "timestamp_format")?)?;
    // A client whose clock is ahead has queued it just now.
    Some(Duration::from_secs(u64::try_from(now.saturating_sub(queued)).unwrap_or(0)))
}

/// The first text of that name, unless it has an escape in it.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\"");
    let values = text.match_indices(&key).filter_map(|(at, _)| {
        let value = text.get(at + key.len()..)?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        let value = value.split('"').next()?;
        (!value.is_empty() && !value.contains('\\')).then_some(value)
    });
    values.into_iter().next()
}

/// What is known of it.
#[derive(Clone)]
struct Facts {
    path: String,
    queued: u64,
    age: Option<Duration>,
    used: u64,
    max_bytes: u64,
    dead: u64,
    max_dead_letters: u64,
    letters_dropped: u64,
    unsafe_because: Option<(String, String)>,
    damaged: u64,
}

impl Facts {
    fn warnings(&self, patience: &Patience) -> Vec<Warning> {
        [self.persistence(), self.room(), self.backlog(patience), self.dead_letters()].into_iter().flatten().collect()
    }

    fn persistence(&self) -> Option<Warning> {
        let Some((now, mend)) = self.unsafe_because.clone() else { return self.damage() };
        let what = format!("what clients push is refused, since what is queued in {} is not safe", self.path);
        Some(Warning { threat: Threat::Persistence, what, now, mend })
    }

    fn damage(&self) -> Option<Warning> {
        (self.damaged > 0).then(|| Warning {
            threat: Threat::Persistence,
            what: format!("{} is damaged: what cannot be read of it was set aside as dead letters", self.path),
            now: format!("{} messages were", self.damaged),
            mend: "see whether its disk is failing; the system's log (dmesg) says more. The dead letters have the bytes as they are now"
                .to_owned(),
        })
    }

    fn room(&self) -> Option<Warning> {
        let percent = self.used.saturating_mul(100) / self.max_bytes.max(1);
        (percent >= SHORT_OF_ROOM).then(|| Warning {
            threat: Threat::Memory,
            what: format!("{} has little room left, and when there is none what clients push is refused", self.path),
            now: format!("{} of channel.embedded.max_bytes, {}, are in use, {percent} %", size(self.used), size(self.max_bytes)),
            mend: "see why messages are not published if many wait, delete dead letters, or raise channel.embedded.max_bytes"
                .to_owned(),
        })
    }

    fn backlog(&self, patience: &Patience) -> Option<Warning> {
        let old = self.age.filter(|age| *age > patience.age);
        if old.is_none() && self.queued <= patience.messages {
            return None;
        }
        let age = self.age.map(|age| format!(", the oldest for {} by its client's clock", humantime::format_duration(age)));
        Some(Warning {
            threat: Threat::Backlog,
            what: format!("messages wait long in {}", self.path),
            now: format!("{} wait{}", self.queued, age.unwrap_or_default()),
            mend: "see why they are not published sooner: a database that is away or slow is said apart; otherwise raise \
                   publisher.workers. nanny.warn_age and nanny.warn_messages say what is long"
                .to_owned(),
        })
    }

    fn dead_letters(&self) -> Option<Warning> {
        (self.dead >= self.max_dead_letters).then(|| Warning {
            threat: Threat::DeadLetters,
            what: format!("{} has all the dead letters that are kept: with each further one the oldest is dropped", self.path),
            now: format!("{} are kept, this agent has dropped {}", self.dead, self.letters_dropped),
            mend: format!(
                "look at them (sqlite3 {path} \"SELECT time, reason, refused, payload FROM dead ORDER BY id DESC LIMIT 10\"), mend \
                 what they complain of, then delete them (sqlite3 {path} \"DELETE FROM dead\"), or raise \
                 channel.embedded.max_dead_letters",
                path = self.path
            ),
        })
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { age: Duration::from_secs(300), messages: 1000 };

    fn well() -> Facts {
        Facts {
            path: "/q.db".to_owned(),
            queued: 1000,
            age: Some(Duration::from_secs(300)),
            used: 799,
            max_bytes: 1000,
            dead: 9,
            max_dead_letters: 10,
            letters_dropped: 0,
            unsafe_because: None,
            damaged: 0,
        }
    }

    #[test]
    fn each_threat_is_told_of_and_nothing_else() {
        let threats = |facts: Facts| facts.warnings(&PATIENCE).iter().map(|warning| warning.threat).collect::<Vec<_>>();
        assert_eq!(threats(well()), []);
        assert_eq!(threats(Facts { age: None, ..well() }), []);
        assert_eq!(threats(Facts { age: Some(Duration::from_secs(301)), ..well() }), [Threat::Backlog]);
        assert_eq!(threats(Facts { queued: 1001, age: None, ..well() }), [Threat::Backlog]);
        assert_eq!(threats(Facts { used: 800, ..well() }), [Threat::Memory]);
        assert_eq!(threats(Facts { dead: 10, ..well() }), [Threat::DeadLetters]);
        assert_eq!(threats(Facts { damaged: 1, ..well() }), [Threat::Persistence]);
        let failed = Some(("cannot sync".to_owned(), "look".to_owned()));
        assert_eq!(threats(Facts { unsafe_because: failed, ..well() }), [Threat::Persistence]);
    }

    #[test]
    fn a_message_says_when_it_was_queued_at_either_end() {
        let text = r#"{"timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ", "serialized_at": "2026-03-01T12:00:00.000000Z", "x": 1}"#;
        let at = metrics::queued_at("2026-03-01T12:00:00.000000Z", "%Y-%m-%dT%H:%M:%S.%fZ").unwrap();
        assert_eq!(age(text.as_bytes(), at + 90), Some(Duration::from_secs(90)));
        assert_eq!(age(text.as_bytes(), at - 90), Some(Duration::ZERO));
        for odd in ["", "{}", r#""serialized_at": "x", "timestamp_format": "%Y""#, r#""serialized_at""#, r#""serialized_at": 5"#]
        {
            assert_eq!(age(odd.as_bytes(), at), None, "{odd}");
        }
    }
}
