//! Gathers what is known of a metric: from the agent's status, from what comes through, from the queue and its dead letters, from the
//! configuration, and from the databases that can be asked. Nothing is changed by it.

use std::{collections::BTreeMap, time::Duration};

use slog::{Discard, Logger, o};
use tokio::time::timeout;

use super::{
    super::{
        asking::{Asking, NoAnswer},
        check::MOST_OF_AN_AGENT,
        dead_letters, tap,
    },
    hops::{Evidence, Kept, Letters, OfPublisher, Waiting},
};
use crate::{
    agent::Filter,
    channel::ChannelError,
    config::{self, Pipeline, Settings},
    observe::log::KeptLog,
    plural::either,
    publisher, queue,
    status::{Snapshot, snapshot, tap::Tapped},
    wire::{Decoder, MessageSet},
};

/// Longer than every time-out below it, which say more about what went wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is in the queue and beside it.
#[derive(Default)]
struct Looked {
    waiting: Waiting,
    /// The points of the metric that wait.
    points: MessageSet,
    /// By the publisher, where that is told.
    letters: BTreeMap<Option<String>, Letters>,
}

pub(super) async fn gather(settings: &Settings, metric: &str, watch: Duration) -> Evidence {
    let (agent, came) = ask(&settings.status, metric, watch).await;
    let looked = match timeout(PATIENCE, look(&settings.channel, metric)).await {
        Ok(looked) => looked.map_err(|error| error.to_string()),
        Err(_) => Err("it did not answer in time".to_owned()),
    };
    let runs = match &settings.channel {
        _ if agent.is_ok() => Some(true),
        config::Channel::Embedded(embedded) => Some(queue::is_in_use(&embedded.path)),
        // It may be on another machine.
        config::Channel::Redis(_) => None,
    };
    let mut publishers = Vec::new();
    for (place, pipeline) in settings.pipelines().iter().enumerate() {
        let told = agent.as_ref().ok().and_then(|agent| agent.publishers.get(place));
        publishers.push(of_publisher(settings, pipeline, metric, told, &looked).await);
    }
    Evidence {
        metric: metric.to_owned(),
        intake: intake(&settings.channel),
        agent: agent.map(Box::new),
        runs,
        waiting: looked.map(|looked| looked.waiting),
        came: came.map(|points| (watch, points)),
        publishers,
    }
}

/// Where clients push to, for people.
fn intake(channel: &config::Channel) -> String {
    match channel {
        config::Channel::Redis(redis) => {
            let lists: Vec<_> = redis.queue_key.all().collect();
            format!("the Redis of [channel.redis], {} {}", either(lists.len(), "list", "lists"), lists.join(", "))
        }
        config::Channel::Embedded(embedded) => {
            let addresses = embedded.listen.iter().map(ToString::to_string);
            let socket = embedded.unix_socket.iter().map(|path| path.display().to_string());
            format!("{}, list {}", addresses.chain(socket).collect::<Vec<_>>().join(" or "), embedded.queue_key)
        }
    }
}

/// How the agent is, and what of the metric comes through meanwhile.
async fn ask(status: &config::Status, metric: &str, watch: Duration) -> (Result<Snapshot, String>, Option<Vec<Tapped>>) {
    let asked = async {
        let asking = Asking::new(status)?;
        let agent = asking.snapshot().await?;
        Ok::<_, NoAnswer>((asking, agent))
    };
    let (asking, agent) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return (Err(error.to_string()), None),
    };
    if watch.is_zero() {
        return (Ok(agent), None);
    }
    let mut came = tap::within(&asking, metric, watch).await.ok();
    // A name may be a pattern, too.
    came.iter_mut().for_each(|points| points.retain(|point| point.metric.as_deref() == Some(metric)));
    (Ok(agent), came)
}

async fn look(channel: &config::Channel, metric: &str) -> Result<Looked, ChannelError> {
    let places = dead_letters::Places::open(channel).await?;
    let looked = look_at(&places, metric).await;
    places.close().await?;
    looked
}

async fn look_at(places: &dead_letters::Places, metric: &str) -> Result<Looked, ChannelError> {
    let mut looked = Looked::default();
    let mut decoder = Decoder::new();
    for message in places.waiting(MOST_OF_AN_AGENT).await? {
        looked.waiting.looked_at += 1;
        // What is refused here becomes a dead letter.
        drop(decoder.decode(&message, &mut looked.points));
    }
    looked.points.retain_points(0, |set, _, point| set.text(point.name) == metric);
    looked.waiting.with_it = looked.points.messages().filter(|message| !message.points().is_empty()).count();
    dead_letters::with_metric(places, metric, |letter, reason| {
        let letters = looked.letters.entry(letter.publisher.clone()).or_default();
        letters.count += 1;
        // The oldest come first.
        letters.newest = Some((letter.time.clone(), reason));
    })
    .await?;
    Ok(looked)
}

async fn of_publisher(
    settings: &Settings,
    pipeline: &Pipeline,
    metric: &str,
    told: Option<&snapshot::Publisher>,
    looked: &Result<Looked, String>,
) -> OfPublisher {
    let made = publisher::configured(&pipeline.publisher, settings.log, || KeptLog::at_once(Logger::root(Discard, o!())));
    let mut publisher = made.make();
    let none = Looked::default();
    let points = &looked.as_ref().unwrap_or(&none).points;
    // A probe could make a missing database.
    let held = told.and_then(|told| told.hold.as_ref()).map(|hold| (hold.what.clone(), hold.remedy.clone()));
    let conflicts = if points.point_count() > 0 {
        timeout(PATIENCE, publisher.compare(points)).await.map(|compared| compared.cautions).unwrap_or_default()
    } else {
        Vec::new()
    };
    let late = || Some(Err("no answer in time".to_owned()));
    OfPublisher {
        name: pipeline.name.clone(),
        destination: publisher.destination(),
        kept: kept(pipeline, metric, points),
        held,
        conflicts,
        has: timeout(PATIENCE, publisher.has_metric(metric)).await.unwrap_or_else(|_| late()),
        letters: looked.as_ref().map(|looked| letters_of(pipeline, &looked.letters)).map_err(Clone::clone),
    }
}

/// What the filter keeps: by the name, and of points that wait.
fn kept(pipeline: &Pipeline, metric: &str, points: &MessageSet) -> Kept {
    let key = pipeline.name.as_ref().map_or_else(|| "publisher".to_owned(), |name| format!("publishers.{name}"));
    let by_name = Kept::by_name(&pipeline.consumer, metric, &key);
    match (by_name, Filter::of(&pipeline.consumer)) {
        (Kept::Some(by), Some(filter)) if points.point_count() > 0 => {
            let keeps =
                points.messages().any(|message| message.points().iter().any(|point| filter.keeps(points, &message, point)));
            let remedy = "change the filter and restart the agent, if it should go there".to_owned();
            if keeps { Kept::Some(by) } else { Kept::Nothing(format!("nothing of what waits is kept; {by}"), remedy) }
        }
        (by_name, _) => by_name,
    }
}

/// Those of a publisher. One of a time before there were several is of all.
fn letters_of(pipeline: &Pipeline, all: &BTreeMap<Option<String>, Letters>) -> Letters {
    let mut of = Letters::default();
    for (publisher, letters) in all {
        if publisher.is_none() || *publisher == pipeline.name {
            of.count += letters.count;
            of.newest = of.newest.max(letters.newest.clone());
        }
    }
    of
}
