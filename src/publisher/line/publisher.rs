//! Publishes to a destination of line protocol: encodes, sends, takes the answer in, and isolates what was refused.

use std::{ops::Range, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Cause, Columns, Dialect, Encode, Fault, Hide, Lines, Place, Sent, Verdict,
    columns::{Waiting, stored},
};
use crate::{
    plural::count,
    publisher::{
        Caution, Inspection, Mark, Outcome, Publisher, Refused,
        http::{Answer, How, NoAnswer, To, Transport},
        isolate::{Evidence, Failure, Next, RefusedLine, Work},
    },
    wire::MessageSet,
};

/// Publishes by line protocol, with one connection that is kept.
pub struct LinePublisher {
    dialect: Box<dyn Dialect>,
    transport: Transport,
    encoder: Box<dyn Encode>,
    /// What is not encoded yet: the batch, and the point that the next window begins with.
    rest: Option<(Arc<MessageSet>, Place)>,
    /// The window that is being written.
    lines: Lines,
    pub(in crate::publisher) work: Work,
    /// What all publishers to this destination have written lately.
    evidence: Evidence,
    /// What was refused of the windows before.
    refused: Vec<Refused>,
    /// Whether the last request's connection broke, which is also how a server refuses what is too large.
    ask_first: bool,
    /// Whether the database was created just now, so that it is not tried for ever.
    created: bool,
}

impl LinePublisher {
    /// Connects with the first write or probe. Must be called, and used, inside a runtime. `evidence` is shared by all publishers to
    /// the same destination.
    pub(in crate::publisher) fn new(dialect: impl Dialect + 'static, evidence: Evidence) -> Self {
        Self {
            transport: Transport::new(dialect.to()),
            encoder: dialect.encoder(),
            dialect: Box::new(dialect),
            rest: None,
            lines: Lines::default(),
            work: Work::default(),
            evidence,
            refused: Vec::new(),
            ask_first: false,
            created: false,
        }
    }

    /// Sends what is next and takes the answer in. What is to be done, if it cannot go on.
    async fn step(&mut self, next: Next) -> Option<Outcome> {
        match next {
            Next::Lines(range) => self.send(range).await,
            Next::Blank => {
                let stopped = self.try_probe().await.err();
                match stopped {
                    Some(_) => self.work.disproved(),
                    None => self.work.proved(),
                }
                stopped
            }
            Next::Sample => {
                let Some(sample) = self.evidence.sample() else {
                    self.work.sample_failed();
                    return None;
                };
                let failed = match self.ask(&sample, |_| Vec::new()).await {
                    Ok(Verdict::Complete) => {
                        self.work.sample_taken();
                        return None;
                    }
                    Ok(verdict @ (Verdict::Isolate { .. } | Verdict::Named { .. })) => {
                        // It may be too old by now.
                        self.evidence.forget_sample();
                        self.retry(None, verdict.words())
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
    async fn send(&mut self, range: Range<usize>) -> Option<Outcome> {
        let first = self.work.left(&range).next()?;
        let (body, answered);
        if self.work.is_whole(&range) {
            body = self.lines.slice(&range);
            answered = self.ask(&body, |lines| lines.ends(range.clone())).await;
        } else {
            let sent: Vec<usize> = self.work.left(&range).collect();
            body = self.lines.gather(&sent);
            answered = self.ask(&body, |lines| lines.ends(sent.iter().copied())).await;
        }
        let size = body.len();
        let verdict = match answered {
            Ok(verdict) => verdict,
            Err(NoAnswer { how: How::Late, why }) if self.work.shrink(size) => return Some(self.retry(None, &why)),
            Err(NoAnswer { how: How::Unreachable, why }) => return Some(self.retry(None, &why)),
            Err(NoAnswer { how: How::Cut | How::Late, why }) => Verdict::Retry { after: None, words: why, fault: Fault::Unknown },
        };
        match verdict {
            Verdict::Complete => {
                self.work.accepted();
                self.evidence.taken(range.len(), &self.lines.slice(&(first..first + 1)));
                None
            }
            Verdict::Isolate { words, refused } => {
                self.work.isolate(&[self.dialect.name(), " refused it: ", &words].concat(), refused);
                None
            }
            Verdict::Named { mut refused, others_are_written } => {
                for (_, reason) in &mut refused {
                    *reason = [self.dialect.name(), " refused it: ", reason].concat();
                }
                self.work.named(refused, others_are_written);
                None
            }
            Verdict::Hold { cause: Cause::NoDatabase, words, .. } if self.dialect.creation().is_some() => {
                self.create_database(&words).await.err()
            }
            Verdict::Limited { refused, ref named, .. } => {
                let named = named.clone();
                self.work.limited(self.failure(verdict, size), refused, &named)
            }
            Verdict::Split { .. } => self.work.split(self.failure(verdict, size), size),
            Verdict::Retry { fault: Fault::Busy, .. } => Some(self.failure(verdict, size).outcome),
            verdict => self.work.failed(self.failure(verdict, size)),
        }
    }

    /// One write request and what its answer means. `ends` says where the lines end in the body.
    async fn ask(&mut self, body: &Bytes, ends: impl Fn(&Lines) -> Vec<usize>) -> Result<Verdict, NoAnswer> {
        let answer = self.transport.post(self.dialect.write_path(), body.clone(), self.ask_first).await;
        self.read(answer, |dialect, lines, answer, hide| {
            dialect.verdict(answer, Sent::new(body, &|| ends(lines)), SystemTime::now(), hide)
        })
    }

    /// What an answer means, if there is one.
    fn read(
        &mut self,
        answer: Result<Answer, NoAnswer>,
        verdict: impl FnOnce(&dyn Dialect, &Lines, &Answer, Hide<'_>) -> Verdict,
    ) -> Result<Verdict, NoAnswer> {
        self.ask_first = answer.as_ref().is_err_and(|error| error.how == How::Cut);
        let verdict = verdict(self.dialect.as_ref(), &self.lines, &answer?, &|text| self.transport.hide_secrets(text));
        if !matches!(verdict, Verdict::Hold { .. }) {
            self.created = false;
        }
        Ok(verdict)
    }

    /// Whether a write could work now, without writing anything; else what is to be done.
    async fn try_probe(&mut self) -> Result<(), Outcome> {
        let (path, body) = self.dialect.probe();
        let size = body.len();
        let answer = self.transport.post(path, body, self.ask_first).await;
        match self.read(answer, |dialect, _, answer, hide| dialect.probe_verdict(answer, SystemTime::now(), hide)) {
            Ok(Verdict::Complete) => Ok(()),
            Ok(Verdict::Hold { cause: Cause::NoDatabase, words, .. }) if self.dialect.creation().is_some() => {
                self.create_database(&words).await
            }
            Ok(verdict) => Err(self.failure(verdict, size).outcome),
            Err(error) => Err(self.retry(None, &error.why)),
        }
    }

    /// A request of that many bytes was not answered as one that was written.
    pub(in crate::publisher) fn failure(&self, verdict: Verdict, size: usize) -> Failure {
        let (words, outcome, condemns) = match verdict {
            Verdict::Retry { after, words, fault } => {
                let outcome = self.retry(after, &words);
                (words, outcome, fault == Fault::Unknown)
            }
            Verdict::Hold { cause, words, fault, .. } => {
                let outcome = self.hold(cause, &words);
                (words, outcome, fault == Fault::Unknown)
            }
            Verdict::Limited { words, .. } => {
                let outcome = self.hold(Cause::Limit, &words);
                (words, outcome, false)
            }
            Verdict::Split { words } => {
                let outcome = self.hold(Cause::TooLarge { size }, &words);
                (words, outcome, true)
            }
            // Of a probe, which has no point.
            verdict @ (Verdict::Isolate { .. } | Verdict::Named { .. }) => {
                let outcome = self.hold(Cause::Foreign, verdict.words());
                (verdict.words().to_owned(), outcome, false)
            }
            Verdict::Complete => (String::new(), self.retry(None, ""), false),
        };
        let words = ["it fails whenever it is sent alone, while other points are written: ", &words].concat();
        Failure { words, outcome, condemns }
    }

    /// Creates the database that the destination says there is not, in these `words`.
    async fn create_database(&mut self, words: &str) -> Result<(), Outcome> {
        let path = match self.dialect.creation() {
            Some(path) if !self.created => path,
            _ => return Err(self.hold(Cause::NotCreated, words)),
        };
        let answer = match self.transport.post(&path, Bytes::new(), false).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.retry(None, &error.why)),
        };
        match self.dialect.creation_verdict(&answer, &|text| self.transport.hide_secrets(text)) {
            Verdict::Complete => {
                self.created = true;
                Ok(())
            }
            verdict => Err(self.failure(verdict, 0).outcome),
        }
    }

    /// Asks for the columns of what is measured in messages that wait; why they are not known. `None` where there is nothing to ask.
    async fn ask_columns(&mut self, waiting: &Waiting) -> Option<Result<Columns, String>> {
        let mut columns = Columns::default();
        for measurements in waiting.portions() {
            match self.ask_columns_of(&measurements).await? {
                Ok(told) => columns.append(told),
                Err(why) => return Some(Err(why)),
            }
        }
        Some(Ok(columns))
    }

    async fn ask_columns_of(&mut self, measurements: &[&str]) -> Option<Result<Columns, String>> {
        let path = self.dialect.columns_path(measurements)?;
        Some(match self.transport.get_long(&path).await {
            Ok(answer) => self.dialect.columns(&answer, &|text| self.transport.hide_secrets(text)),
            Err(error) => Err(error.why),
        })
    }

    fn hold(&self, cause: Cause, words: &str) -> Outcome {
        let Caution { what, mut mend } = self.dialect.remedy(cause, words);
        let To { gzip, service, .. } = self.dialect.to();
        if gzip && cause == Cause::Foreign {
            mend.extend([", or set ", service.section, ".gzip = false if what is compressed is refused there"]);
        }
        Outcome::Hold { code: cause.code(), what, mend }
    }

    fn retry(&self, after: Option<std::time::Duration>, words: &str) -> Outcome {
        Outcome::Retry { after, why: ["cannot write to ", &self.dialect.place(), ": ", words].concat() }
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
            refused.extend(self.lines.refusal(line, &reason, self.dialect.backslashes()));
        }
        refused.sort_by_key(|(place, _)| *place);
        self.refused.extend(refused.into_iter().map(|(_, refused)| refused));
    }
}

#[async_trait(?Send)]
impl Publisher for LinePublisher {
    fn destination(&self) -> String {
        let destination = self.dialect.destination();
        match self.dialect.to().proxy {
            Some(proxy) => format!("{destination} through the proxy {proxy}"),
            None => destination,
        }
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
                return Outcome::Written { refused: self.refused.clone() };
            }
        };
        match self.step(next).await {
            Some(outcome) => outcome,
            None if self.work.is_done() && self.rest.is_none() => {
                self.note_refused();
                Outcome::Written { refused: self.refused.clone() }
            }
            None => Outcome::Progressed,
        }
    }

    async fn probe(&mut self) -> Outcome {
        self.created = false;
        self.try_probe().await.err().unwrap_or(Outcome::Written { refused: Vec::new() })
    }

    async fn inspect(&mut self) -> Inspection {
        let Some(path) = self.dialect.inspection() else { return Inspection::default() };
        let answer = self.transport.get(path).await.unwrap_or_default();
        self.dialect.inspected(&answer, &|text| self.transport.hide_secrets(text))
    }

    async fn newest(&mut self, mark: &Mark) -> Result<Option<f64>, String> {
        let path = self.dialect.newest_path(mark).ok_or("this destination cannot be asked for it")?;
        let answer = self.transport.get_long(&path).await.map_err(|error| error.why)?;
        self.dialect.newest(&answer, &|text| self.transport.hide_secrets(text))
    }

    async fn compare(&mut self, waiting: &MessageSet) -> Inspection {
        let waiting = Waiting::of(waiting, self.dialect.columns_last());
        let Some(asked) = self.ask_columns(&waiting).await else { return Inspection::default() };
        let columns = match asked {
            Ok(columns) => columns,
            Err(why) => {
                let facts = ["what waits was not compared with the types of the database's fields: ", &why].concat();
                return Inspection { facts: Some(facts), cautions: Vec::new() };
            }
        };
        let cautions = waiting.conflicts(&columns, &self.dialect.place(), self.dialect.columns_last());
        let fits = || {
            let looked_at = count(waiting.messages(), "waiting message");
            format!("{looked_at} looked at, and none conflicts with the types of the database's fields")
        };
        Inspection { facts: cautions.is_empty().then(fits), cautions }
    }

    async fn has_metric(&mut self, name: &str) -> Option<Result<bool, String>> {
        let measurement = stored(name);
        let Some(path) = self.dialect.metric_path(&measurement) else {
            return Some(self.ask_columns_of(&[&measurement]).await?.map(|columns| !columns.is_empty()));
        };
        Some(match self.transport.get_long(&path).await {
            Ok(answer) => self.dialect.has_metric(&answer, &|text| self.transport.hide_secrets(text)),
            Err(error) => Err(error.why),
        })
    }

    fn is_stuck(&self) -> bool {
        self.work.is_stuck()
    }

    fn shrink(&mut self) {
        self.encoder = self.dialect.encoder();
        self.rest = None;
        self.lines = Lines::default();
        self.work.load(0);
        self.refused = Vec::new();
    }
}
