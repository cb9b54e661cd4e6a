//! The table of what VictoriaMetrics and the programs before it answer to a write, and what that means. Pure: bytes in, [`Verdict`] out.
//!
//! Seen on 1.79.5 and 1.150.0, of vmauth on 1.79.5; of vminsert and newer vmauth as their sources say (app/vminsert/netstorage,
//! app/vmauth, and lib/writeconcurrencylimiter for both).

use std::time::SystemTime;

use crate::publisher::{
    http::Answer,
    line::{Cause, Fault, Hide, Verdict},
};

/// Reads an answer to a write of `body`. `now` is for a `Retry-After` that is a date; `hide` takes secrets out of what is
/// quoted.
pub(super) fn verdict(answer: &Answer, body: &[u8], now: SystemTime, hide: Hide<'_>) -> Verdict {
    let said = said(&answer.body);
    let words = answer.words(Some(said), hide);
    let hold = |cause, fault| Verdict::Hold { cause, words: words.clone(), fault };
    let retry = |fault| Verdict::Retry { after: answer.pause(now), words: words.clone(), fault };
    match answer.status {
        204 => Verdict::Complete,
        400 if said.contains(TOO_BIG) => Verdict::Split { words },
        400 if is_about_a_line(said, body) => Verdict::Isolate { refused: None, words },
        // vmauth of 1.79.5; newer ones answer 401.
        400 if said.starts_with("cannot find the provided auth token ") => hold(Cause::Unauthenticated, Fault::Server),
        // The body did not arrive whole.
        400 if said.starts_with(READING) => retry(Fault::Unknown),
        400 if said.starts_with("auth error: ") => hold(Cause::NoDatabase, Fault::Server),
        400 if said.starts_with("unsupported path requested") => hold(Cause::Foreign, Fault::Server),
        401 => hold(Cause::Unauthenticated, Fault::Server),
        403 => hold(Cause::Forbidden, Fault::Unknown),
        413 => Verdict::Split { words },
        503 if said.contains("read-only mode") => hold(Cause::Limit, Fault::Server),
        _ if answer.is_throttled() => retry(Fault::Busy),
        408 | 425 | 499 | 500..=599 => retry(Fault::Unknown),
        // Of something in between. Isolating on its word would park everything.
        _ => hold(Cause::Foreign, Fault::Unknown),
    }
}

const TOO_BIG: &str = "too big data size exceeding -influx.maxRequestSize";

/// What a 400 begins with that is about what was sent.
const READING: &str = "cannot ";

/// What is said behind the address and the path, with which 1.79.5 begins.
fn said(body: &str) -> &str {
    let behind_path = || body.strip_prefix("remoteAddr: ")?.split_once("; requestURI: ")?.1.split_once("; ");
    behind_path().map_or(body, |(_, said)| said).trim()
}

/// Whether a line is to blame. The server quotes everything from that line on, of which the beginning must have been sent: a gateway
/// also "cannot process" things.
fn is_about_a_line(said: &str, body: &[u8]) -> bool {
    if said.contains("too long line: more than") {
        return true;
    }
    let Some((_, quoted)) = said
        .strip_prefix("cannot process influx line protocol data: ")
        .and_then(|said| said.split_once("incorrect influx line \""))
    else {
        return false;
    };
    // Without what Go's %q writes in another way.
    let begin = quoted.split(['"', '\\', char::REPLACEMENT_CHARACTER]).next().unwrap_or_default();
    !begin.is_empty() && body.windows(begin.len()).any(|window| window == begin.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SENT: &[u8] = b"good value=1 1\nthis is not a line\n";

    fn of(status: u16, body: &str) -> Verdict {
        let answer = Answer { status, body: body.to_owned(), ..Answer::default() };
        verdict(&answer, SENT, SystemTime::UNIX_EPOCH, &|text| text)
    }

    fn hold(cause: Cause, fault: Fault, words: &str) -> Verdict {
        Verdict::Hold { cause, words: words.to_owned(), fault }
    }

    fn retry(fault: Fault, words: &str) -> Verdict {
        Verdict::Retry { after: None, words: words.to_owned(), fault }
    }

    #[test]
    fn every_status_there_is_has_its_verdict() {
        for status in 100..1000 {
            let words = status.to_string();
            let expected = match status {
                204 => Verdict::Complete,
                401 => hold(Cause::Unauthenticated, Fault::Server, &words),
                403 => hold(Cause::Forbidden, Fault::Unknown, &words),
                413 => Verdict::Split { words },
                429 => retry(Fault::Busy, &words),
                408 | 425 | 499 | 500..=599 => retry(Fault::Unknown, &words),
                _ => hold(Cause::Foreign, Fault::Unknown, &words),
            };
            assert_eq!(of(status, ""), expected, "{status}");
        }
    }

    #[test]
    fn what_victoriametrics_1_150_0_says_is_understood() {
        let see = "; see https://docs.victoriametrics.com/victoriametrics/integrations/influxdb/\n";
        let line = "cannot process influx line protocol data: incorrect influx line \"this is not a line\\n\": missing field value for \"is\"";
        assert!(matches!(of(400, &[line, see].concat()), Verdict::Isolate { refused: None, .. }));
        let big = "cannot process influx line protocol data: too big data size exceeding -influx.maxRequestSize=67108864 bytes";
        assert!(matches!(of(400, &[big, see].concat()), Verdict::Split { .. }));
        for broken in ["unexpected EOF", "cannot decompress data: invalid input: magic number mismatch"] {
            let broken = ["cannot process influx line protocol data: ", broken].concat();
            assert!(matches!(of(400, &[&broken, see].concat()), Verdict::Retry { fault: Fault::Unknown, .. }), "{broken}");
        }
        let path = "unsupported path requested: \"/x/write\"";
        assert_eq!(of(400, path), hold(Cause::Foreign, Fault::Server, &["400 ", path].concat()));
        let full =
            "cannot store metrics: the storage is in read-only mode; check -storage.minFreeDiskSpaceBytes command-line flag";
        assert_eq!(of(503, full), hold(Cause::Limit, Fault::Server, &["503 ", full].concat()));
    }

    #[test]
    fn what_victoriametrics_1_79_5_says_is_understood() {
        let before = "remoteAddr: \"127.0.0.1:37232\"; requestURI: /write?precision=ms; ";
        let eof = "cannot read influx line protocol data: cannot read a block of data in 0.000s: unexpected EOF";
        assert_eq!(of(400, &[before, eof].concat()), retry(Fault::Unknown, &["400 ", eof].concat()));
        let gzip = "cannot read gzipped influx line protocol data: gzip: invalid header";
        assert_eq!(of(400, &[before, gzip].concat()), retry(Fault::Unknown, &["400 ", gzip].concat()));
        let long = "cannot read influx line protocol data: too long line: more than 262144 bytes";
        assert!(matches!(of(400, &[before, long].concat()), Verdict::Isolate { .. }));
        let path = "unsupported path requested: \"/api/v3/write_lp\"";
        assert_eq!(of(400, &[before, path].concat()), hold(Cause::Foreign, Fault::Server, &["400 ", path].concat()));
        assert_eq!(of(401, "\n"), hold(Cause::Unauthenticated, Fault::Server, "401"));
    }

    #[test]
    fn what_a_cluster_and_vmauth_say_is_understood() {
        let tenant = "auth error: cannot parse authToken \"x\": cannot parse accountID";
        assert_eq!(of(400, tenant), hold(Cause::NoDatabase, Fault::Server, &["400 ", tenant].concat()));
        let busy = "cannot process insert request for 60.000 seconds because 16 concurrent insert requests are executed";
        assert_eq!(of(503, busy), retry(Fault::Busy, &["503 ", busy].concat()));
        let login = "cannot find the provided auth token \"Bearer x\" in config";
        assert_eq!(of(400, login), hold(Cause::Unauthenticated, Fault::Server, &["400 ", login].concat()));
        let nodes = "cannot send 1000 bytes to storageNode \"vmstorage:8400\": it is down";
        assert_eq!(of(503, nodes), retry(Fault::Busy, &["503 ", nodes].concat()));
        let answer = Answer { status: 429, retry_after: Some("10".to_owned()), ..Answer::default() };
        let wait = Verdict::Retry { after: Some(Duration::from_secs(10)), words: "429".to_owned(), fault: Fault::Busy };
        assert_eq!(verdict(&answer, SENT, SystemTime::UNIX_EPOCH, &|text| text), wait);
    }

    #[test]
    fn a_gateway_that_speaks_of_lines_that_were_not_sent_condemns_none() {
        for body in [
            "cannot process influx line protocol data: incorrect influx line \"other\": missing fields",
            "cannot process influx line protocol data: incorrect influx line \"",
            "{\"error\":\"invalid API key format\"}",
        ] {
            assert!(!matches!(of(400, body), Verdict::Isolate { .. }), "{body}");
        }
    }
}
