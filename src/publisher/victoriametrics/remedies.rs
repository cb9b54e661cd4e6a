//! What an operator is told: what only an operator can mend, and what to know of a server that works.

use crate::{
    config::Victoriametrics as Config,
    publisher::{Caution, http::Answer, line::Cause},
};

/// What is wrong, in the server's `words`, and what to do about it.
pub(super) fn remedy(config: &Config, cause: Cause, words: &str) -> Caution {
    let Config { url, username, token, .. } = config;
    let login = "set publisher.victoriametrics.username with password_file or password, or token_file or token";
    let (what, mend) = match cause {
        Cause::NoDatabase | Cause::NotCreated | Cause::NoRetentionPolicy => (
            format!(
                "victoriametrics at {url} has no tenant {}: {words}",
                config.tenant.as_deref().unwrap_or("of its own for this agent")
            ),
            "correct publisher.victoriametrics.tenant".to_owned(),
        ),
        Cause::Unauthenticated if username.is_none() && token.is_none() => {
            (format!("victoriametrics at {url} wants a login: {words}"), login.to_owned())
        }
        Cause::Unauthenticated if username.is_none() => (
            format!("victoriametrics at {url} does not accept the token: {words}"),
            "correct publisher.victoriametrics.token_file or token; without a vmauth or a proxy in between, VictoriaMetrics itself \
             knows username and password only"
                .to_owned(),
        ),
        Cause::Unauthenticated => (
            format!("victoriametrics at {url} does not accept the user or the password: {words}"),
            "correct publisher.victoriametrics.username, and password_file or password".to_owned(),
        ),
        Cause::Forbidden => (format!("victoriametrics at {url} does not let us write: {words}"), login.to_owned()),
        Cause::Limit | Cause::Disk => (
            format!("victoriametrics at {url} takes no samples: {words}"),
            "give its disk more room, or lower -storage.minFreeDiskSpaceBytes; until then messages wait in the channel".to_owned(),
        ),
        Cause::TooLarge { size } => (
            format!("victoriametrics at {url} refuses a point of {size} bytes as too large: {words}"),
            "raise -influx.maxRequestSize, or the limit of the proxy that answers there".to_owned(),
        ),
        Cause::Foreign => (
            format!("what answers at {url} is not where VictoriaMetrics takes line protocol: {words}"),
            "correct publisher.victoriametrics.url, publisher.victoriametrics.tenant, which only a cluster has, or the proxy that \
             answers there"
                .to_owned(),
        ),
    };
    Caution { what, mend }
}

/// What a written sample is not worth.
pub(super) fn receipt() -> Caution {
    Caution {
        what: "VictoriaMetrics answers before it has anything on disk: what it was sent within some 10 s before it crashes or its \
               machine does is lost, and the agent cannot know"
            .to_owned(),
        mend: "a stop with SIGTERM loses nothing; against crashes run a cluster with -replicationFactor=2, or a vmagent in between, \
               which keeps what it was sent on disk while the server is away"
            .to_owned(),
    }
}

/// What to know of a server, from its answer to `/flags`. Where something else answers, nothing is known: vmauth and vmagent have flags of
/// their own.
pub(super) fn inspected(config: &Config, answer: &Answer) -> Vec<Caution> {
    let flags = || answer.body.lines().filter(|line| line.starts_with('-'));
    let is_of_another = |line: &str| line.starts_with("-auth.config=") || line.starts_with("-remoteWrite.url=");
    if answer.status != 200 || flags().next().is_none() || flags().any(is_of_another) {
        return vec![Caution {
            what: "whether it runs with -dedup.minScrapeInterval=1ms could not be asked".to_owned(),
            mend: "see that it does, or set publisher.victoriametrics.unique_timestamps = false".to_owned(),
        }];
    }
    let flag = |name: &str| {
        let value = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim().trim_matches('"'))
    };
    let interval = flag("-dedup.minScrapeInterval").filter(|interval| !matches!(*interval, "0" | "0s"));
    let mut cautions = Vec::new();
    match (interval, config.unique_timestamps) {
        (Some("1ms"), true) | (None, false) => {}
        (None, true) => cautions.push(Caution {
            what:
                "it does not deduplicate: what is written again, as after a write without an answer or a crash, is stored twice"
                    .to_owned(),
            mend: "start it with -dedup.minScrapeInterval=1ms".to_owned(),
        }),
        (Some("1ms"), false) => cautions.push(Caution {
            what: "it keeps one of several points of a series and millisecond".to_owned(),
            mend: "set publisher.victoriametrics.unique_timestamps = true, or start it without -dedup.minScrapeInterval"
                .to_owned(),
        }),
        (Some(interval), _) => cautions.push(Caution {
            what: format!("it keeps one point a series in {interval}, and drops the others"),
            mend: "start it with -dedup.minScrapeInterval=1ms".to_owned(),
        }),
    }
    if let Some(retention) = flag("-retentionPeriod") {
        cautions.push(Caution {
            what: format!("points older than its -retentionPeriod={retention} are dropped without a word"),
            mend: "nothing, where no message waits that long".to_owned(),
        });
    } else {
        cautions.push(Caution {
            what: "points older than its -retentionPeriod, one month by default, are dropped without a word".to_owned(),
            mend: "nothing, where no message waits that long; else start it with a longer -retentionPeriod".to_owned(),
        });
    }
    if let Some(labels) =
        flag("-maxLabelsPerTimeseries").filter(|most| most.parse().is_ok_and(|most: usize| most < config.max_labels))
    {
        cautions.push(Caution {
            what: format!("it takes {labels} labels a series, fewer than publisher.victoriametrics.max_labels"),
            mend: format!("set publisher.victoriametrics.max_labels = {labels}"),
        });
    }
    cautions
}
