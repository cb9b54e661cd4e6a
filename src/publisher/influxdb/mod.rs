//! Writes to InfluxDB 1.x by line protocol. [`verdict`] says what an answer means, [`isolate`] what to send next.

mod escape;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod hold;
mod isolate;
mod line;
#[cfg(any(test, feature = "fuzzing"))]
mod reader;
mod transport;
mod verdict;

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use url::form_urlencoded::byte_serialize;

use self::{
    isolate::{RefusedLine, Work},
    line::{Encoder, Lines, Place},
    transport::{How, NoAnswer, Transport},
    verdict::{Cause, Verdict, verdict},
};
use super::{Outcome, Publisher, RefusedAt};
use crate::{config::Influxdb, metrics::MessageSet};

/// A blank line writes nothing, and is answered as a real write would be.
const BLANK: &[u8] = b"\n";

/// Publishes to InfluxDB 1.x, with one connection that is kept.
pub struct InfluxdbPublisher {
    config: Influxdb,
    /// `/write?...`
    write_path: String,
    transport: Transport,
    encoder: Encoder,
    /// What is not encoded yet: the set, and the point that the next window begins with.
    rest: Option<(MessageSet, Place)>,
    /// The window that is being written.
    lines: Lines,
    work: Work,
    /// What was refused of the windows before.
    refused: Vec<RefusedAt>,
    /// Whether the last request's connection broke, which is also how a server refuses what is too large.
    ask_first: bool,
    /// Whether the database was created just now, so that it is not tried for ever.
    created: bool,
}

/// How one request went.
enum Step {
    Done,
    Stop(Outcome),
}

impl InfluxdbPublisher {
    /// Connects with the first write or probe. Must be called, and used, inside a runtime.
    #[must_use]
    pub fn new(config: &Influxdb) -> Self {
        Self {
            config: config.clone(),
            write_path: write_path(config),
            transport: Transport::new(config),
            encoder: Encoder::default(),
            rest: None,
            lines: Lines::default(),
            work: Work::default(),
            refused: Vec::new(),
            ask_first: false,
            created: false,
        }
    }

    /// Sends the next lines and takes the answer in.
    async fn step(&mut self, range: std::ops::Range<usize>) -> Step {
        let size = self.lines.size(&range);
        let body = self.lines.slice(&range);
        let verdict = self.ask(body).await;
        if !matches!(verdict, Ok(Verdict::Hold { .. })) {
            self.created = false;
        }
        match verdict {
            Ok(Verdict::Complete) => self.work.accepted(),
            Ok(Verdict::Isolate { words, refused }) => self.work.isolate(&words, refused),
            Ok(Verdict::Split { words }) => self.work.split(&words, size),
            Ok(Verdict::Retry { after, words }) => return Step::Stop(self.retry(after, &words)),
            Ok(Verdict::Hold { cause, words }) => return self.mend(cause, &words).await,
            Err(NoAnswer { why, how }) => {
                if how == How::Late {
                    self.work.shrink(size);
                }
                return Step::Stop(self.retry(None, &why));
            }
        }
        Step::Done
    }

    /// One write request and what its answer means.
    async fn ask(&mut self, body: Bytes) -> Result<Verdict, NoAnswer> {
        let answer = self.transport.post(&self.write_path, body, self.ask_first).await;
        self.ask_first = answer.as_ref().is_err_and(|error| error.how == How::Cut);
        Ok(verdict(&answer?, SystemTime::now(), |text| self.transport.hide_secrets(text)))
    }

    /// Creates the database where that is what is missing and we were told to; else says what to mend.
    async fn mend(&mut self, cause: Cause, words: &str) -> Step {
        if cause != Cause::NoDatabase || !self.config.create_database {
            return Step::Stop(hold::hold(&self.config, cause, words));
        }
        if self.created {
            return Step::Stop(hold::not_created(&self.config, words));
        }
        let statement = ["CREATE DATABASE ", &hold::quoted(&self.config.database)].concat();
        let path = ["/query?q=", &encoded(&statement)].concat();
        let answer = match self.transport.post(&path, Bytes::new(), false).await {
            Ok(answer) => answer,
            Err(error) => return Step::Stop(self.retry(None, &error.why)),
        };
        let words = verdict::words(&answer, |text| self.transport.hide_secrets(text));
        match answer.status {
            _ if verdict::is_executed(&answer) => {
                self.created = true;
                Step::Done
            }
            429 | 500..=599 => Step::Stop(self.retry(None, &words)),
            _ => Step::Stop(hold::not_created(&self.config, &words)),
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
            let reason = ["InfluxDB refused it: ", &reason].concat();
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

    fn load(&mut self, set: MessageSet) {
        self.refused.clear();
        self.rest = Some((set, Place::default()));
        self.encode();
    }

    fn divide(&mut self, divisor: usize) {
        self.work.divide(divisor);
    }

    async fn write(&mut self) -> Outcome {
        let range = loop {
            if let Some(range) = self.work.next(|range| self.lines.size(range)) {
                break range;
            }
            self.note_refused();
            if !self.encode() {
                return Outcome::Written { refused: self.refused.clone() };
            }
        };
        match self.step(range).await {
            Step::Stop(outcome) => outcome,
            Step::Done if self.work.is_done() && self.rest.is_none() => {
                self.note_refused();
                Outcome::Written { refused: self.refused.clone() }
            }
            Step::Done => Outcome::Progressed,
        }
    }

    async fn probe(&mut self) -> Outcome {
        self.created = false;
        match self.ask(Bytes::from_static(BLANK)).await {
            Ok(Verdict::Complete) => Outcome::Written { refused: Vec::new() },
            Ok(Verdict::Retry { after, words }) => self.retry(after, &words),
            Ok(Verdict::Hold { cause, words }) => match self.mend(cause, &words).await {
                Step::Done => Outcome::Written { refused: Vec::new() },
                Step::Stop(outcome) => outcome,
            },
            Ok(Verdict::Isolate { words, .. } | Verdict::Split { words }) => hold::hold(&self.config, Cause::NotInfluxdb, &words),
            Err(error) => self.retry(None, &error.why),
        }
    }

    fn shrink(&mut self) {
        self.encoder = Encoder::default();
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
