//! What no answer can do; see [`crate::fuzzing`].

use std::time::{Duration, SystemTime};

use super::{v1::answers, v2, v3};
use crate::{
    config::{Influxdb, InfluxdbApi, InfluxdbV1, Secret},
    publisher::{
        LinePublisher, Outcome,
        http::{Answer, MAX_RETRY_AFTER},
        isolate::{Evidence, Next},
        line::{Cause, Sent, Verdict},
    },
};

/// A password that no server may bring into a log.
const SECRET: &str = "hunter2";

/// A sentence, with a status and a quote of 400 characters of up to four bytes.
const LONGEST_WORDS: usize = 200 + 4 * 400;

pub(crate) fn answer(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let Ok(status) = next().trim().parse() else { return };
    let retry_after = Some(next()).filter(|header| !header.is_empty());
    let answer = Answer { status, retry_after, body: next(), ..Answer::default() };
    let hide = &|text: String| text.replace(SECRET, "***");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let verdict = answers::verdict(&answer, SENT, now, hide);
    assert_eq!(verdict, answers::verdict(&answer, SENT, now, hide));

    let executed = answers::creation_verdict(&answer, hide) == Verdict::Complete;
    assert!(!executed || (status == 200 && answer.body.contains("results")));
    printable(&answers::words(&answer, hide));
    printable(&super::inspected(&answer, hide).facts.unwrap_or_default());
    allowed(&answer, &verdict);
    settles(&verdict);
    let sent = Sent::new(SENT, &|| vec![12, SENT.len()]);
    for verdict in [v2::answers::verdict(&answer, sent, now, hide), v3::answers::verdict(&answer, sent, now, hide)] {
        names_lines_that_were_sent(&answer, &verdict);
    }
}

/// What may follow where an answer can name lines. Only JSON, or its beginning, condemns any.
fn names_lines_that_were_sent(answer: &Answer, verdict: &Verdict) {
    printable(verdict.words());
    assert_eq!(answer.status == 204, *verdict == Verdict::Complete);
    let condemns = matches!(verdict, Verdict::Isolate { .. } | Verdict::Named { .. } | Verdict::Limited { .. });
    assert!(!condemns || matches!(answer.status, 400 | 422) && answer.body.trim_start().starts_with('{'), "{verdict:?}");
    if let Verdict::Named { refused, .. } = verdict {
        assert!(!refused.is_empty() && refused.iter().all(|(at, _)| *at < 2), "{verdict:?}");
        refused.iter().for_each(|(_, reason)| printable(reason));
    }
}

/// What was sent when that was the answer.
const SENT: &[u8] = b"c value=1 1\nbad\n";

/// What may follow from a status, whatever is said beside it.
fn allowed(answer: &Answer, verdict: &Verdict) {
    let body = answer.body.as_str();
    let is_json_object = body.trim_start().starts_with('{');
    match (answer.status, verdict) {
        (204, Verdict::Complete) | (401, Verdict::Hold { cause: Cause::Unauthenticated, .. }) => {}
        (403, Verdict::Hold { cause: Cause::Forbidden, .. }) | (413, Verdict::Split { .. }) => {}
        (400, Verdict::Isolate { refused, .. }) => {
            assert!(is_json_object, "points were condemned by what is not InfluxDB");
            assert!(refused.is_none_or(|count| count > 0 && body.contains("partial write")));
        }
        (400, Verdict::Limited { .. }) => assert!(is_json_object && body.contains("limit exceeded")),
        (400, Verdict::Retry { after, .. }) => {
            assert!(is_json_object && (after.is_none() || answer.retry_after.is_some()));
        }
        (400, Verdict::Hold { cause, .. }) => assert_eq!(*cause, Cause::Foreign),
        (404 | 500, Verdict::Hold { cause: Cause::NoDatabase, .. }) => assert!(is_json_object),
        (500, Verdict::Hold { cause: Cause::NoRetentionPolicy, .. }) => assert!(is_json_object),
        (408 | 425 | 429 | 499 | 500..=599, Verdict::Retry { after, .. }) => {
            assert!(after.is_none_or(|after| answer.retry_after.is_some() && after <= MAX_RETRY_AFTER));
        }
        (status, Verdict::Hold { cause: Cause::Foreign, .. }) => {
            assert!(!matches!(status, 204 | 401 | 403 | 408 | 413 | 425 | 429 | 499 | 500..=599), "{verdict:?}");
        }
        _ => unreachable!("{verdict:?} of {}", answer.status),
    }
}

/// A verdict is told in printable lines, and a batch ends by it: every line is written, refused, or still there. Only what InfluxDB says
/// of points condemns any where nothing else was taken.
fn settles(verdict: &Verdict) {
    const LINES: usize = 9;
    let evidence = Evidence::default();
    let mut publisher = LinePublisher::influxdb(&config());
    publisher.work.load(LINES);
    let mut steps = 0;
    while let Some(next) = publisher.work.next(|range| range.len(), &evidence) {
        steps += 1;
        assert!(steps <= 4 * LINES, "{verdict:?} has no end");
        let failure = publisher.failure(verdict.clone(), LINES);
        let work = &mut publisher.work;
        let stopped = match (next, verdict) {
            (Next::Blank, _) => {
                work.proved();
                continue;
            }
            (Next::Sample, _) => unreachable!("nothing was taken"),
            (_, Verdict::Complete) => {
                work.accepted();
                continue;
            }
            (_, Verdict::Isolate { words, refused }) => {
                printable(words);
                work.isolate(words, *refused);
                continue;
            }
            (_, Verdict::Named { refused, others_are_written }) => {
                work.named(refused.clone(), *others_are_written);
                continue;
            }
            (_, Verdict::Limited { refused, named, .. }) => work.limited(failure.clone(), *refused, named),
            (_, Verdict::Split { .. }) => work.split(failure.clone(), LINES),
            (_, Verdict::Retry { .. } | Verdict::Hold { .. }) => work.failed(failure.clone()),
        };
        printable(&failure.words);
        if let Some(outcome) = stopped {
            if let Outcome::Hold { what, mend, .. } = outcome {
                printable(&what);
                assert!(!mend.is_empty());
            }
            return assert!(work.take_refused().is_empty());
        }
    }
    let refused: Vec<_> = publisher.work.take_refused().iter().map(|refused| refused.line).collect();
    assert_eq!(refused, if *verdict == Verdict::Complete { vec![] } else { (0..LINES).collect() });
}

fn config() -> Influxdb {
    Influxdb {
        url: "http://localhost:8086".to_owned(),
        api: InfluxdbApi::V1(InfluxdbV1 {
            database: "kadabra".to_owned(),
            username: Some("agent".to_owned()),
            password: Some(Secret::new(SECRET)),
            ..InfluxdbV1::default()
        }),
        tls: crate::config::Tls::default(),
        proxy: None,
        timeout: Duration::from_secs(5),
        gzip: false,
        unique_timestamps: true,
    }
}

fn printable(words: &str) {
    assert!(words.len() <= LONGEST_WORDS, "{} bytes", words.len());
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(!words.contains(SECRET), "{words:?}");
}
