//! Which actor stands under which box of the flow.

use crate::status::snapshot::{Actor, ActorState, EventKind, Publisher, Snapshot};

/// The way of messages from left to right: one box for clients and one for the queue, then a row a publisher.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    pub(super) listeners: Vec<&'a Actor>,
    pub(super) nannies: Vec<&'a Actor>,
    pub(super) ways: Vec<Way<'a>>,
    /// Those that are on no message's way.
    pub(super) others: Vec<&'a Actor>,
}

/// The way to one destination.
#[derive(Debug)]
pub(super) struct Way<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) batchers: Vec<&'a Actor>,
    pub(super) publishers: Vec<&'a Actor>,
}

impl<'a> Flow<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let way = |publisher| Way { publisher, batchers: Vec::new(), publishers: Vec::new() };
        let ways = snapshot.publishers.iter().map(way).collect();
        let mut flow = Flow { listeners: Vec::new(), nannies: Vec::new(), ways, others: Vec::new() };
        for actor in &snapshot.actors {
            flow.place(actor).push(actor);
        }
        flow
    }

    fn place(&mut self, actor: &Actor) -> &mut Vec<&'a Actor> {
        let way = self.ways.iter_mut().find(|way| way.publisher.name == actor.publisher);
        match (actor.role.as_str(), way) {
            ("listener" | "statsd", _) => &mut self.listeners,
            ("nanny", _) => &mut self.nannies,
            ("receiver" | "batcher", Some(way)) => &mut way.batchers,
            ("publisher", Some(way)) => &mut way.publishers,
            _ => &mut self.others,
        }
    }
}

/// The name where it stands: of several of one role each has a number, and whose it is says its place.
pub(super) fn name(actor: &Actor) -> &str {
    actor.name.split(" of ").next().unwrap_or(&actor.name)
}

/// The state as a word, which is a class of the style sheet, too.
pub(super) fn state(state: &ActorState) -> &'static str {
    match state {
        ActorState::Waiting => "waiting",
        ActorState::Starting => "starting",
        ActorState::Up => "up",
        ActorState::Hung => "hung",
        ActorState::Finished => "finished",
    }
}

/// What happened, as a word.
pub(super) fn event(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Up => "up",
        EventKind::Failed => "failed",
        EventKind::Hung => "hung",
        EventKind::Held => "held",
        EventKind::Drained => "drained",
    }
}
