//! The actor that serves the status, until all others have drained: whoever looks sees the agent stop. And whoever looks sees it start:
//! before there are actors, a thread of its own serves the same.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, thread, time::Duration};

use actix::prelude::*;
use actix_http::HttpService;
use actix_rt::Arbiter;
use actix_service::{Service as _, ServiceFactory as _, map_config};
use actix_web::dev::AppConfig;
use futures_util::future::join_all;
use slog::{Logger, info};
use tokio::sync::watch;

use super::{
    access::Access,
    actions::{Acting, Actions},
    answers,
    connections::{Connections, Since},
    sockets::{Bound, Place, Sockets, Stream},
};
use crate::{
    backoff::Backoff,
    config,
    failpoint::fail_point,
    listener::BindError,
    status::{
        Latest,
        conditions::{Condition, Conditions},
        tap::Tap,
    },
    supervision::{Drain, Life, answers_pings},
};

/// The pauses between attempts to have an address.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long to wait when no connection can be accepted, usually for want of file descriptors.
const BREATHER: Duration = Duration::from_millis(100);
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may wait for its next request. Longer than Prometheus pauses between two, usually.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a Web works with.
pub(crate) struct Params {
    settings: config::Status,
    latest: Latest,
    tap: Tap,
    acting: Arc<Acting>,
    conditions: Arc<Conditions>,
    sockets: Sockets,
    log: Logger,
}

impl Params {
    /// What it says is from `latest`, what comes through from `tap`, and what it can do does `actions`.
    pub(crate) fn new(
        settings: &config::Status,
        latest: &Latest,
        tap: &Tap,
        actions: Arc<dyn Actions>,
        conditions: &Arc<Conditions>,
        log: &Logger,
    ) -> Self {
        Self {
            settings: settings.clone(),
            latest: latest.clone(),
            tap: tap.clone(),
            acting: Arc::new(Acting::new(actions)),
            conditions: Arc::clone(conditions),
            sockets: Sockets::default(),
            log: log.clone(),
        }
    }

    /// The actor has failed too often, for this reason, and is tried again later; or it is tried again now.
    pub(crate) fn held(&self, why: Option<&str>) {
        match why {
            Some(why) => {
                self.sockets.close();
                self.conditions.begin(Condition::StatusPage, why, None);
            }
            None => self.conditions.end(Condition::StatusPage),
        }
    }
}

/// Serves on a thread of its own while the agent waits for its channel, and no actor lives. Once this is dropped it accepts no more, and
/// ends with the last connection that it has.
pub(crate) struct Early(watch::Sender<bool>);

impl Early {
    pub(crate) fn serve(params: &Arc<Params>) -> Self {
        let closing = watch::Sender::new(false);
        let (params, closed) = (Arc::clone(params), closing.subscribe());
        // An arbiter panics where there can be no thread for it.
        if thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok()) {
            Arbiter::new().spawn_fn(|| drop(actix_rt::spawn(serve_early(params, closed))));
        }
        Self(closing)
    }
}

impl Drop for Early {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

async fn serve_early(params: Arc<Params>, mut closing: watch::Receiver<bool>) {
    let connections = Connections::new(params.log.clone());
    tokio::select! {
        () = serve_by(&params, &connections) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connections.ended().await;
    Arbiter::current().stop();
}

/// The actor.
pub(crate) struct Web {
    params: Arc<Params>,
    life: Life,
    closing: watch::Sender<bool>,
}

impl Web {
    pub(crate) fn new(params: Arc<Params>, life: Life) -> Self {
        Self { params, life, closing: watch::Sender::new(false) }
    }
}

impl Actor for Web {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (params, mut closing) = (Arc::clone(&self.params), self.closing.subscribe());
        let serving = async move {
            tokio::select! {
                () = serve(&params) => {}
                // When the sender is gone, so is the actor.
                _ = closing.wait_for(|closing| *closing) => params.sockets.close(),
            }
        };
        ctx.spawn(serving.into_actor(self).map(|(), web, _| web.life.say_drained()));
    }
}

impl Handler<Drain> for Web {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.closing.send_replace(true);
    }
}

answers_pings!(Web);

async fn serve(params: &Params) {
    fail_point!("web.serve");
    serve_by(params, &Connections::new(params.log.clone())).await;
}

/// Serves wherever it can, and goes on trying where it cannot.
async fn serve_by(params: &Params, connections: &Connections) {
    let unbound = Unbound { conditions: &params.conditions, why: RefCell::default() };
    join_all(Place::all(&params.settings).map(|place| serve_at(place, params, connections, &unbound))).await;
}

async fn serve_at(place: Place, params: &Params, connections: &Connections, unbound: &Unbound<'_>) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let bound = params.sockets.bind(&place);
        unbound.note(&place, bound.as_ref().err());
        if let Ok((bound, is_new)) = bound {
            if is_new {
                info!(params.log, "the status is served"; "at" => bound.url());
            }
            let access = Access::new(&params.settings, place.is_unix());
            accept(&bound, access, params, connections).await;
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Serves all who come by one socket. Ends only where nothing can be served.
async fn accept(bound: &Bound, access: Access, params: &Params, connections: &Connections) {
    let service = HttpService::build()
        .client_request_timeout(HEAD_WITHIN)
        .client_disconnect_timeout(HEAD_WITHIN)
        .keep_alive(KEEP_ALIVE)
        .h1_allow_half_closed(false)
        .on_connect_ext(|_: &Stream, of_connection| {
            of_connection.insert(Since::now());
        })
        .h1(map_config(answers::app(access, params.latest.clone(), Arc::clone(&params.acting), params.tap.clone()), |()| {
            AppConfig::default()
        }));
    let Ok(service) = service.new_service(()).await else { return };
    loop {
        match bound.accept().await {
            Ok(stream) => {
                let served = service.call((stream, None));
                // What goes wrong with a connection is of interest to whoever is at its other end.
                connections.add(async { drop(served.await) });
            }
            Err(_) => tokio::time::sleep(BREATHER).await,
        }
    }
}

/// Where it cannot be served now, and why: one condition, whose words change only when that does.
struct Unbound<'a> {
    conditions: &'a Conditions,
    why: RefCell<BTreeMap<Place, BindError>>,
}

impl Unbound<'_> {
    fn note(&self, place: &Place, error: Option<&BindError>) {
        let mut why = self.why.borrow_mut();
        match error {
            Some(error) => drop(why.insert(place.clone(), error.clone())),
            None => drop(why.remove(place)),
        }
        match why.values().next() {
            Some(BindError { what, remedy }) => self.conditions.begin(Condition::StatusPage, what, Some(remedy)),
            None => self.conditions.end(Condition::StatusPage),
        }
    }
}
