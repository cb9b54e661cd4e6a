//! `/api/tap`: what comes through, a JSON object a line, as long as somebody reads it. `only` is a pattern of a name or of a dimension, and
//! may be there several times; `per_second` is how many points are wanted at most. Nobody who is slow slows the agent: what is not taken is
//! left out, and how much that was is told.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use url::form_urlencoded;

use super::answers::text;
use crate::{
    status::tap::{MOST_WATCHES, Tap, Wanted, Watch},
    wire::MetricPattern,
};

/// So many points a second, unless another number is asked for.
const PER_SECOND: u64 = 100;
/// How often something is written at least, so that an end that is gone is noticed.
const EVERY: Duration = Duration::from_secs(1);
/// So many points are written at once, if they are there.
const TOGETHER: usize = 200;

pub(super) async fn follow(request: HttpRequest) -> HttpResponse {
    let Some(watch) = request.app_data::<Tap>().and_then(|tap| tap.watch(wanted(request.query_string()))) else {
        let sentence = format!("{MOST_WATCHES} watch already, and no more can: end one of them");
        return text(HttpResponse::ServiceUnavailable(), &sentence);
    };
    // Nothing is read ahead, so that what nobody takes is left out and counted.
    let lines = stream::unfold(watch, |mut watch| async move {
        let lines = lines(&mut watch).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(lines)), watch))
    });
    HttpResponse::Ok().content_type("application/x-ndjson").streaming(lines)
}

fn wanted(query: &str) -> Wanted {
    let mut wanted = Wanted { only: Vec::new(), per_second: PER_SECOND };
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "only" => wanted.only.push(MetricPattern::new(&value)),
            "per_second" => wanted.per_second = value.parse().unwrap_or(PER_SECOND),
            _ => {}
        }
    }
    wanted
}

/// The next points, and how many were left out before them.
async fn lines(watch: &mut Watch) -> String {
    let first = watch.next(EVERY).await;
    let points = first.into_iter().chain(std::iter::from_fn(|| watch.ready()).take(TOGETHER));
    let mut lines: String = points.filter_map(|point| Some(serde_json::to_string(&point).ok()? + "\n")).collect();
    let left_out = watch.left_out();
    if left_out > 0 || lines.is_empty() {
        lines += &format!("{{\"left_out\":{left_out}}}\n");
    }
    lines
}
