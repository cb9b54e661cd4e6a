//! Connections to Redis: one that all commands share, and one for each receive that waits.
//!
//! A connection that failed is forgotten, and the next call makes a new one: one attempt a call, and when to
//! call again is the caller's business. A call never takes longer than the time-out, connecting included. A connection
//! on which something comes that was not asked for is cut, see [`super::questions`].
//!
//! A connection is served by the thread that made it and may be used from any. When that thread is stuck or gone,
//! a call fails in time like on any broken connection, and the next one connects on its own thread.

use std::{fmt, sync::Mutex, time::Duration};

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{
    client::{Connection, Login, Request, by, lock},
    errors::{self, Error, Names, Server},
    failure::{Attempt, Failure},
    resp::Budget,
    route::Route,
    scripts::Invocation,
    target::Target,
};
use crate::{channel::ChannelError, config};

/// The way to one Redis.
pub(super) struct Link {
    route: Route,
    login: Login,
    pub(super) server: Server,
    timeout: Duration,
    shared: Mutex<Shared>,
    /// Connections on which no receive waits now.
    idle: Mutex<Vec<Connection>>,
    /// So that callers who find no connection make one, not one each.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shared {
    connection: Option<Connection>,
    /// Which connection this is, so that a late failure does not take down its successor.
    generation: u64,
}

impl Link {
    pub(super) fn new(settings: &config::Redis, pattern: String) -> Result<Self, ChannelError> {
        let Target { route, login, shown, names } = Target::of(settings)?;
        Ok(Self {
            route,
            login,
            server: Server { url: shown, pattern, names },
            timeout: settings.timeout,
            shared: Mutex::default(),
            idle: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// Has errors speak of what an operator sets by other names than the keys of `[channel.redis]`.
    pub(super) fn call(&mut self, names: &'static Names) {
        self.server.names = names;
        self.route.call(&names.service);
    }

    /// For a question whose answer may have so many values, with so many bytes in all. What has at most a thousand values, none of them a
    /// message, may be asked without.
    pub(super) fn within(&self, values: usize, bytes: usize) -> Within<'_> {
        Within { link: self, budget: Budget::of(values, bytes) }
    }

    /// Has the next call make a connection of its own.
    pub(super) fn reconnect(&self) {
        lock(&self.shared).connection = None;
    }

    /// Runs a command.
    pub(super) async fn command(&self, doing: &str, command: &Cmd) -> Result<Value, Error> {
        self.within(0, 0).command(doing, command).await
    }

    /// Runs a script by its hash, and loads it first when Redis has forgotten it.
    pub(super) async fn script(&self, doing: &str, script: &Invocation<'_>) -> Result<Value, Error> {
        self.within(0, 0).script(doing, script).await
    }

    /// Whether Redis would run a blocking command. `refused` is that command with a time-out that no Redis takes.
    pub(super) async fn would_block(&self, doing: &str, refused: &Cmd) -> Result<(), Error> {
        self.run(doing, Request::Refused(refused), Budget::ORDINARY).await.map(drop)
    }

    /// Runs a command that blocks in Redis for up to `wait`, on a connection of its own, and does not have its answer
    /// sent: what it is for shows otherwise. That Redis would refuse it is learnt from `refused`: see
    /// [`Link::would_block`]. When this future is dropped, the connection is closed, and Redis stops waiting.
    pub(super) async fn blocking(&self, doing: &str, refused: &Cmd, command: &Cmd, wait: Duration) -> Result<(), Error> {
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open(Instant::now() + self.timeout).await?,
        };
        let patience = wait + self.timeout;
        match by(Instant::now() + patience, patience, connection.unanswered(refused, command)).await {
            Ok(()) => {
                lock(&self.idle).push(connection);
                Ok(())
            }
            Err(error) => {
                // The others are of the same age: they would fail one by one. On the shared one nothing need fail: a
                // script that finds no message writes nothing, which a primary that is none any more allows.
                lock(&self.idle).clear();
                if error.is_for_good() {
                    self.reconnect();
                }
                Err(self.explain(doing, &error))
            }
        }
    }

    /// An answer that is not what the command answers, as an error.
    pub(super) fn garbled(&self, doing: &str) -> Error {
        Error::Other(errors::garbled(doing, &self.server))
    }

    /// Makes the connection that commands share, if there is none.
    pub(super) async fn connected(&self) -> Result<(), Error> {
        self.connection_by(Instant::now() + self.timeout).await.map(drop)
    }

    /// Makes a connection that nothing else uses.
    pub(super) async fn open(&self, deadline: Instant) -> Result<Connection, Error> {
        by(deadline, self.timeout, self.connect()).await.map_err(|error| self.explain(CONNECT, &error))
    }

    /// There was no answer in the time that each call has.
    pub(super) fn late(&self, doing: &str) -> Error {
        self.explain(doing, &Failure::late(self.timeout))
    }

    /// How long each call has.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn connection_by(&self, deadline: Instant) -> Result<(Connection, u64), Error> {
        let connected = by(deadline, self.timeout, self.connection()).await;
        connected.map_err(|error| self.explain(CONNECT, &error))
    }

    async fn run(&self, doing: &str, request: Request<'_>, budget: Budget) -> Result<Value, Error> {
        let deadline = Instant::now() + self.timeout;
        let (connection, generation) = self.connection_by(deadline).await?;
        by(deadline, self.timeout, connection.ask(request, budget)).await.map_err(|failure| {
            if failure.is_for_good() {
                self.forget(generation);
            }
            self.explain(doing, &failure)
        })
    }

    async fn connection(&self) -> Result<(Connection, u64), Failure> {
        if let Some(found) = lock(&self.shared).found() {
            return Ok(found);
        }
        let _turn = self.connecting.lock().await;
        if let Some(found) = lock(&self.shared).found() {
            return Ok(found);
        }
        let connection = self.connect().await?;
        let mut shared = lock(&self.shared);
        shared.generation += 1;
        shared.connection = Some(connection.clone());
        Ok((connection, shared.generation))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        // A little less than the call has, which would say only that there was no answer.
        let within = self.timeout - (self.timeout / 10).min(Duration::from_millis(100));
        // Rare, and far larger than what each command is.
        Box::pin(self.route.connect(&self.login, within)).await
    }

    fn forget(&self, generation: u64) {
        let mut shared = lock(&self.shared);
        if shared.generation == generation {
            shared.connection = None;
        }
    }

    /// Why there is no answer, as a sentence.
    pub(super) fn explain(&self, doing: &str, failure: &Failure) -> Error {
        explain(doing, &self.server, failure)
    }
}

/// Asks for answers within a budget.
pub(super) struct Within<'a> {
    link: &'a Link,
    budget: Budget,
}

impl Within<'_> {
    /// See [`Link::command`].
    pub(super) async fn command(self, doing: &str, command: &Cmd) -> Result<Value, Error> {
        self.link.run(doing, Request::Command(command), self.budget).await
    }

    /// See [`Link::script`].
    pub(super) async fn script(self, doing: &str, script: &Invocation<'_>) -> Result<Value, Error> {
        self.link.run(doing, Request::Script(script), self.budget).await
    }
}

/// Why there is no answer, as a sentence.
fn explain(doing: &str, server: &Server, failure: &Failure) -> Error {
    let unreachable = |why| Error::Other(ChannelError::Unreachable { what: format!("cannot {CONNECT} to {server}"), why });
    match failure {
        Failure::Redis(error) => errors::explain(doing, server, error),
        Failure::Unreached(failure) => unreachable([failure.to_string(), failure.remedy()].join(": ")),
        Failure::Cut(excess) => Error::Other(errors::excess(doing, server, *excess)),
        Failure::NoSuchMaster => Error::Other(ChannelError::Refused {
            what: format!("cannot {doing}: the Sentinel at {server} knows no primary of that name"),
            mend: "correct channel.redis.master_name; SENTINEL MASTERS, sent to a Sentinel, lists what it knows".to_owned(),
        }),
        // What an operator must mend of one is said first.
        Failure::Nowhere(attempts) => {
            let mut why = Vec::new();
            for Attempt { at, names, failure } in attempts {
                match explain(doing, &Server { url: at.clone(), names, ..server.clone() }, failure) {
                    Error::Other(ChannelError::Unreachable { why: said, .. }) => why.push(format!("{at}: {said}")),
                    refused => return refused,
                }
            }
            unreachable(why.join("; "))
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection's parameters hold the password.
        f.debug_struct("Link").field("server", &self.server.url).finish_non_exhaustive()
    }
}

impl Shared {
    fn found(&self) -> Option<(Connection, u64)> {
        self.connection.clone().map(|connection| (connection, self.generation))
    }
}

const CONNECT: &str = "connect";
