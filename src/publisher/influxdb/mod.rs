//! Writes to InfluxDB 1.x by line protocol. [`answers`] says what an answer means, [`isolate`](super::isolate) what to send next.

mod answers;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod remedies;

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use url::form_urlencoded::byte_serialize;

pub(super) use self::answers::Answer;
use self::answers::{Cause, Fault, Verdict, verdict};
use super::{
    Caution, Outcome, Publisher, Publishers, Refused,
    http::{How, NoAnswer, Transport},
    isolate::{Evidence, Failure, Next, RefusedLine, Work},
    line::{Encoder, Lines, Place},
};
use crate::{config::Influxdb, connect, wire::MessageSet};

/// A blank line writes nothing, and is answered as a real write would be.
const BLANK: &[u8] = b"\n";

/// Publishers to one InfluxDB, which share what they have seen it take.
pub(super) fn publishers(config: &Influxdb) -> Publishers {
    let (evidence, to) = (Evidence::default(), config.clone());
    let ignored =
        connect::ignored_proxy(&config.url, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()));
    let on_the_way = ignored.map(|variable| Caution {
        what: format!(
            "{variable} is set, and the agent makes no use of it: it connects to publisher.influxdb.url without a proxy"
        ),
        mend: "let this machine reach it directly, and put its host into no_proxy".to_owned(),
    });
    Publishers { on_the_way, ..Publishers::new(move || Box::new(InfluxdbPublisher::new(&to).sharing(&evidence))) }
}

/// Publishes to InfluxDB 1.x, with one connection that is kept.
pub struct InfluxdbPublisher {
    config: Influxdb,
    /// `/write?...`
    write_path: String,
    transport: Transport,
    encoder: Encoder,
    /// What is not encoded yet: the set, and the point that the next window begins with.
    rest: Option<(Arc<MessageSet>, Place)>,
    /// The window that is being written.
    lines: Lines,
    work: Work,
    /// What all publishers to this destination have written lately.
    evidence: Evidence,
    /// What was refused of the windows before.
    refused: Vec<Refused>,
    /// Whether the last request's connection broke, which is also how a server refuses what is too large.
    ask_first: bool,
    /// Whether the database was created just now, so that it is not tried for ever.
    created: bool,
}

impl InfluxdbPublisher {
    /// Connects with the first write or probe. Must be called, and used, inside a runtime.
    #[must_use]
    pub fn new(config: &Influxdb) -> Self {
        Self {
            config: config.clone(),
            write_path: write_path(config),
            transport: Transport::new(config),
            encoder: Encoder::new(config.unique_timestamps),
            rest: None,
            lines: Lines::default(),
            work: Work::default(),
            evidence: Evidence::default(),
            refused: Vec::new(),
            ask_first: false,
            created: false,
        }
    }

    /// With what others have written to the same destination, and they with what this one has.
    #[must_use]
    fn sharing(self, evidence: &Evidence) -> Self {
        Self { evidence: evidence.clone(), ..self }
    }

    /// Sends what is next and takes the answer in. What is to be done, if it cannot go on.
    async fn step(&mut self, next: Next) -> Option<Outcome> {
        match next {
            Next::Lines(range) => self.send(range).await,
            Next::Blank => {
                let stopped = self.blank().await.err();
                match stopped {
                    Some(_) => self.work.disproved(),
                    None => self.work.proved(),
                }
                stopped
            }
            Next::Sample => {
                let sample = self.evidence.sample().unwrap_or_else(|| Bytes::from_static(BLANK));
                let failed = match self.ask(&sample).await {
                    Ok(Verdict::Complete) => {
                        self.work.sample_taken();
                        return None;
                    }
                    Ok(Verdict::Isolate { words, .. }) => {
                        // It may be too old by now.
                        self.evidence.forget_sample();
                        self.retry(None, &words)
                    }
                    Ok(verdict) => self.failure(verdict, sample.len()).outcome,
                    Err(error) => self.retry(None, &error.why),
                };
                self.work.sample_failed();
                Some(failed)
            }
        }
    }

    /// Sends lines and takes the answer in.
    async fn send(&mut self, range: std::ops::Range<usize>) -> Option<Outcome> {
        let body = self.lines.slice(&range);
        let size = body.len();
        let verdict = match self.ask(&body).await {
            Ok(verdict) => verdict,
            Err(NoAnswer { how: How::Late, why }) if self.work.shrink(size) => return Some(self.retry(None, &why)),
            Err(NoAnswer { how: How::Unreachable, why }) => return Some(self.retry(None, &why)),
            Err(NoAnswer { how: How::Cut | How::Late, why }) => Verdict::Retry { after: None, words: why, fault: Fault::Unknown },
        };
        match verdict {
            Verdict::Complete => {
                self.work.accepted();
                self.evidence.taken(range.len(), &self.lines.slice(&(range.start..range.start + 1)));
                None
            }
            Verdict::Isolate { words, refused } => {
                self.work.isolate(&["InfluxDB refused it: ", &words].concat(), refused);
                None
            }
            Verdict::Hold { cause: Cause::NoDatabase, words, .. } if self.config.create_database => {
                self.create_database(&words).await.err()
            }
            Verdict::Limited { refused, .. } => self.work.limited(self.failure(verdict, size), refused),
            Verdict::Split { .. } => self.work.split(self.failure(verdict, size), size),
            Verdict::Retry { fault: Fault::Busy, .. } => Some(self.failure(verdict, size).outcome),
            verdict => self.work.failed(self.failure(verdict, size)),
        }
    }

    /// One write request and what its answer means.
    async fn ask(&mut self, body: &Bytes) -> Result<Verdict, NoAnswer> {
        let answer = self.transport.post(&self.write_path, body.clone(), self.ask_first).await;
        self.ask_first = answer.as_ref().is_err_and(|error| error.how == How::Cut);
        let verdict = verdict(&answer?, body, SystemTime::now(), |text| self.transport.hide_secrets(text));
        if !matches!(verdict, Verdict::Hold { .. }) {
            self.created = false;
        }
        Ok(verdict)
    }

    /// Whether a write could work now, without writing anything; else what is to be done.
    async fn blank(&mut self) -> Result<(), Outcome> {
        match self.ask(&Bytes::from_static(BLANK)).await {
            Ok(Verdict::Complete) => Ok(()),
            Ok(Verdict::Hold { cause: Cause::NoDatabase, words, .. }) if self.config.create_database => {
                self.create_database(&words).await
            }
            Ok(verdict) => Err(self.failure(verdict, BLANK.len()).outcome),
            Err(error) => Err(self.retry(None, &error.why)),
        }
    }

    /// A request of that many bytes was not answered as one that was written.
    fn failure(&self, verdict: Verdict, size: usize) -> Failure {
        let hold = |cause, words| remedies::hold(&self.config, cause, words);
        let (words, outcome, condemns) = match verdict {
            Verdict::Retry { after, words, fault } => {
                let outcome = self.retry(after, &words);
                (words, outcome, fault == Fault::Unknown)
            }
            Verdict::Hold { cause, words, fault, .. } => {
                let outcome = hold(cause, &words);
                (words, outcome, fault == Fault::Unknown)
            }
            Verdict::Limited { words, .. } => {
                let outcome = hold(Cause::Limit, &words);
                (words, outcome, false)
            }
            Verdict::Split { words } => {
                let outcome = hold(Cause::TooLarge { size }, &words);
                (words, outcome, true)
            }
            // Of a blank line, which is no point.
            Verdict::Isolate { words, .. } => {
                let outcome = hold(Cause::NotInfluxdb, &words);
                (words, outcome, false)
            }
            Verdict::Complete => (String::new(), self.retry(None, ""), false),
        };
        let words = ["it fails whenever it is sent alone, while other points are written: ", &words].concat();
        Failure { words, outcome, condemns }
    }

    /// Creates the database that InfluxDB says there is not, in these `words`.
    async fn create_database(&mut self, words: &str) -> Result<(), Outcome> {
        if self.created {
            return Err(remedies::not_created(&self.config, words));
        }
        let statement = ["CREATE DATABASE ", &remedies::quoted(&self.config.database)].concat();
        let path = ["/query?q=", &encoded(&statement)].concat();
        let answer = match self.transport.post(&path, Bytes::new(), false).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.retry(None, &error.why)),
        };
        let words = answers::words(&answer, |text| self.transport.hide_secrets(text));
        match answer.status {
            _ if answers::is_executed(&answer) => {
                self.created = true;
                Ok(())
            }
            429 | 500..=599 => Err(self.retry(None, &words)),
            _ => Err(remedies::not_created(&self.config, &words)),
        }
    }

    fn retry(&self, after: Option<std::time::Duration>, words: &str) -> Outcome {
        Outcome::Retry { after, why: ["cannot write to influxdb at ", &self.config.url, ": ", words].concat() }
    }

    /// Encodes the next window. Says whether there was one.
    fn encode(&mut self) -> bool {
        let Some((set, from)) = self.rest.take() else { return false };
        let next = self.encoder.encode(&set, from, &mut self.lines);
        self.work.load(self.lines.len());
        self.rest = next.map(|next| (set, next));
        true
    }

    /// Notes what was refused of a window that is written.
    fn note_refused(&mut self) {
        let mut refused = self.lines.take_refused();
        for RefusedLine { line, reason } in self.work.take_refused() {
            refused.extend(self.lines.refusal(line, &reason));
        }
        refused.sort_by_key(|(place, _)| *place);
        self.refused.extend(refused.into_iter().map(|(_, refused)| refused));
    }
}

#[async_trait(?Send)]
impl Publisher for InfluxdbPublisher {
    fn destination(&self) -> String {
        ["influxdb ", &self.config.url, " database ", &self.config.database].concat()
    }

    fn load(&mut self, batch: Arc<MessageSet>) {
        self.refused.clear();
        self.rest = Some((batch, Place::default()));
        self.encode();
    }

    fn divide(&mut self, divisor: usize) {
        self.work.divide(divisor);
    }

    async fn write(&mut self) -> Outcome {
        let next = loop {
            if let Some(next) = self.work.next(|range| self.lines.size(range), &self.evidence) {
                break next;
            }
            self.note_refused();
            if !self.encode() {
                return Outcome::Written { refused: std::mem::take(&mut self.refused) };
            }
        };
        match self.step(next).await {
            Some(outcome) => outcome,
            None if self.work.is_done() && self.rest.is_none() => {
                self.note_refused();
                Outcome::Written { refused: std::mem::take(&mut self.refused) }
            }
            None => Outcome::Progressed,
        }
    }

    async fn probe(&mut self) -> Outcome {
        self.created = false;
        self.blank().await.err().unwrap_or(Outcome::Written { refused: Vec::new() })
    }

    fn is_stuck(&self) -> bool {
        self.work.is_stuck()
    }

    fn shrink(&mut self) {
        self.encoder = Encoder::new(self.config.unique_timestamps);
        self.rest = None;
        self.lines = Lines::default();
        self.work.load(0);
        self.refused = Vec::new();
    }
}

fn write_path(config: &Influxdb) -> String {
    let mut path = ["/write?db=", &encoded(&config.database)].concat();
    if let Some(policy) = &config.retention_policy {
        path.push_str("&rp=");
        path.push_str(&encoded(policy));
    }
    path.push_str("&precision=ns");
    path
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}
