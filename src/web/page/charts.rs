//! The last hour as lines: points become the coordinates of SVG paths, which the browser stretches to whatever width there is.

use jiff::Timestamp;

use crate::status::{
    figures,
    snapshot::{History, HistoryPoint, Mark, MarkKind, Snapshot},
};

/// What is shown, in seconds.
const SPAN: f64 = 3600.0;

/// The coordinates of a drawing; its text is not part of it, so that nothing is distorted.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 100.0;

/// Room above the largest value.
const HEADROOM: f64 = 1.08;

/// One chart: a filled area, and a line before it.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) name: &'static str,
    pub(super) area: Curve,
    pub(super) line: Option<Curve>,
    /// The value at the upper edge, with its unit.
    pub(super) top: String,
    /// The value from which on something is warned of.
    pub(super) alarm: Option<Alarm>,
    /// The chart in words.
    pub(super) summary: String,
}

/// A value from which on something is warned of.
#[derive(Debug)]
pub(super) struct Alarm {
    /// With its unit.
    pub(super) from: String,
    /// Where it is, unless it is above the upper edge.
    pub(super) y: Option<f64>,
}

/// One value over time.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// The newest value, with its unit.
    pub(super) now: String,
    /// The `d` of a path.
    pub(super) path: String,
}

/// Something that happened, at its place on the axis.
#[derive(Debug)]
pub(super) struct Happened<'a> {
    pub(super) x: f64,
    pub(super) kind: &'static str,
    pub(super) mark: &'a Mark,
}

/// The three charts, on one axis.
pub(super) fn charts(snapshot: &Snapshot) -> [Chart; 3] {
    let history = &snapshot.history;
    let end = end(snapshot);
    let lag = |point: &HistoryPoint| point.oldest_age_seconds;
    [
        chart(
            history,
            end,
            "Messages a second",
            figures::rate,
            [("stored", &|point| Some(point.stored_per_second)), ("accepted", &|point| Some(point.accepted_per_second))],
        )
        .0,
        with_alarm(chart(history, end, "Age of the oldest", figures::seconds, [("oldest", &lag)]), snapshot),
        chart(
            history,
            end,
            "Time to write a batch",
            figures::seconds,
            [("half within", &|point| point.publish_p50_seconds), ("99 % within", &|point| point.publish_p99_seconds)],
        )
        .0,
    ]
}

/// The same, with the line from which on the age is warned of, at its place where the chart is as high.
fn with_alarm((chart, top): (Chart, f64), snapshot: &Snapshot) -> Chart {
    let alarm = snapshot
        .channel
        .warn_age_seconds
        .map(|age| Alarm { from: figures::seconds(age), y: (age <= top).then(|| round(HEIGHT - age / top * HEIGHT)) });
    Chart { alarm, ..chart }
}

/// What happened within the hour.
pub(super) fn happened<'a>(snapshot: &'a Snapshot) -> Vec<Happened<'a>> {
    let end = end(snapshot);
    let place = |mark: &'a Mark| Happened { x: x(mark.at, end), kind: kind(mark.kind), mark };
    snapshot.history.marks.iter().map(place).filter(|happened| (0.0..=WIDTH).contains(&happened.x)).collect()
}

/// The right edge: the last point rather than this moment, so that a chart changes only when a point is added to it.
fn end(snapshot: &Snapshot) -> Timestamp {
    let last = snapshot.history.points.last().map_or(snapshot.at, |point| point.at);
    let lasting = snapshot.history.marks.last().map_or(last, |mark| mark.at);
    last.max(lasting)
}

fn x(at: Timestamp, end: Timestamp) -> f64 {
    let ago = end.duration_since(at).as_secs_f64();
    round((1.0 - ago / SPAN) * WIDTH)
}

/// The kind of a mark as a word, which is a class of the style sheet, too.
fn kind(kind: MarkKind) -> &'static str {
    match kind {
        MarkKind::Started => "started",
        MarkKind::Restart => "restart",
        MarkKind::Hold => "hold",
        MarkKind::Released => "released",
        MarkKind::Reload => "reload",
    }
}

type Value<'a> = (&'static str, &'a dyn Fn(&HistoryPoint) -> Option<f64>);

fn chart<const N: usize>(
    history: &History,
    end: Timestamp,
    name: &'static str,
    shown: impl Fn(f64) -> String,
    values: [Value<'_>; N],
) -> (Chart, f64) {
    let all = || values.iter().flat_map(|(_, value)| history.points.iter().filter_map(value));
    let largest = all().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let top = if largest > 0.0 { largest * HEADROOM } else { 1.0 };
    let now = |value: &dyn Fn(&HistoryPoint) -> Option<f64>| {
        history.points.last().and_then(value).map_or_else(|| "–".to_owned(), &shown)
    };
    let curve = |at: usize, (name, value): &Value<'_>| {
        let runs = runs(history, end, top, value);
        Curve { name, now: now(value), path: runs.iter().map(|run| if at == 0 { area(run) } else { line(run) }).collect() }
    };
    let mut curves = values.iter().enumerate().map(|(at, value)| curve(at, value));
    let empty = || Curve { name: "", now: String::new(), path: String::new() };
    let (area, line) = (curves.next().unwrap_or_else(empty), curves.next());
    let parts = [Some(&area), line.as_ref()].into_iter().flatten().map(|curve| format!("{} {}", curve.name, curve.now));
    let parts = parts.collect::<Vec<_>>().join(", ");
    let summary = format!("{name} over the last hour: {parts} now, at most {}", shown(largest));
    (Chart { name, area, line, top: shown(largest), alarm: None, summary }, top)
}

/// The coordinates of points that follow each other; where some are missing a new run begins.
fn runs(history: &History, end: Timestamp, top: f64, value: &dyn Fn(&HistoryPoint) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let gap = history.every_seconds.max(1) as f64 * 1.5 / SPAN * WIDTH;
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut before: Option<f64> = None;
    for point in &history.points {
        let x = x(point.at, end);
        let Some(value) = value(point).filter(|value| value.is_finite() && x >= 0.0) else {
            before = None;
            continue;
        };
        let place = (x, round(HEIGHT - value.clamp(0.0, top) / top * HEIGHT));
        match runs.last_mut() {
            Some(run) if before.is_some_and(|before| x - before <= gap) => run.push(place),
            _ => runs.push(vec![place]),
        }
        before = Some(x);
    }
    runs
}

fn line(run: &[(f64, f64)]) -> String {
    let step = |(at, (x, y)): (usize, &(f64, f64))| format!("{}{x} {y}", if at == 0 { 'M' } else { 'L' });
    let mut path: String = run.iter().enumerate().map(step).collect();
    // A point alone is a short stroke.
    if let [_] = run {
        path.push_str("h1");
    }
    path
}

/// A line, closed along the lower edge.
fn area(run: &[(f64, f64)]) -> String {
    match (run.first(), run.last()) {
        (Some((from, _)), Some((to, _))) => format!("{}L{to} {HEIGHT}L{from} {HEIGHT}Z", line(run)),
        _ => String::new(),
    }
}

/// A line through counts at equal distances, `width` × 20 in size, or nothing where nothing was counted.
pub(super) fn spark(counts: &[u32]) -> String {
    let top = counts.iter().copied().max().unwrap_or(0);
    if top == 0 {
        return String::new();
    }
    let place = |(x, count): (usize, &u32)| (x as f64, round(19.0 - f64::from(*count) / f64::from(top) * 18.0));
    line(&counts.iter().enumerate().map(place).collect::<Vec<_>>())
}

/// To a tenth, which is less than a pixel.
fn round(coordinate: f64) -> f64 {
    (coordinate * 10.0).round() / 10.0
}
