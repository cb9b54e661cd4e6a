//! Connections to Redis: one that all commands share, and one for each receive that waits.
//!
//! A connection that failed is forgotten, and the next call makes a new one: one attempt a call, and when to
//! call again is the caller's business. A call never takes longer than the time-out, connecting included. A connection
//! on which something comes that was not asked for is cut, see [`super::guard`].
//!
//! A connection is served by the thread that made it and may be used from any. When that thread is stuck or gone,
//! a call fails in time like on any broken connection, and the next one connects on its own thread.

use std::{
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Cmd, ConnectionInfo, ScriptInvocation, Value, aio::MultiplexedConnection};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    errors::{self, Error, Names, Server},
    failure::Failure,
    guard::{Guarded, Limit, Traffic},
    stream::Way,
    target,
};
use crate::{
    channel::ChannelError,
    config::{self, Secret},
    duration::for_people,
};

/// The way to one Redis.
pub(super) struct Link {
    info: ConnectionInfo,
    way: Way,
    /// It takes the place of one in the URL.
    password: Option<Secret>,
    pub(super) server: Server,
    timeout: Duration,
    limit: Limit,
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
        let (info, url) = target::parse(settings)?;
        Ok(Self {
            way: Way::new(&info, &settings.tls)?,
            info,
            password: settings.password.clone(),
            server: Server { url, pattern, names: errors::KEYS },
            timeout: settings.timeout,
            limit: Limit::new(),
            shared: Mutex::default(),
            idle: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// Has errors speak of what an operator sets by other names than the keys of `[channel.redis]`.
    pub(super) fn call(&mut self, names: &'static Names) {
        self.server.names = names;
        self.way.call(&names.service);
    }

    /// Says that the answer to what is asked next may have so many values, with so many bytes in all. What has at most a
    /// thousand values, none of them a message, need not be announced.
    pub(super) fn expect(&self, values: usize, bytes: usize) {
        self.limit.expect(values, bytes);
    }

    /// Has the next call make a connection of its own.
    pub(super) fn reconnect(&self) {
        lock(&self.shared).connection = None;
    }

    /// Runs a command.
    pub(super) async fn command(&self, doing: &str, command: &Cmd) -> Result<Value, Error> {
        self.run(doing, Request::Command(command)).await
    }

    /// Runs a script by its hash, and loads it first when Redis has forgotten it.
    pub(super) async fn script(&self, doing: &str, script: &ScriptInvocation<'_>) -> Result<Value, Error> {
        self.run(doing, Request::Script(script)).await
    }

    /// Whether Redis would run a blocking command. `refused` is that command with a time-out that no Redis takes.
    pub(super) async fn would_block(&self, doing: &str, refused: &Cmd) -> Result<(), Error> {
        self.run(doing, Request::Refused(refused)).await.map(drop)
    }

    /// Runs a command that blocks in Redis for up to `wait`, on a connection of its own, and does not have its answer
    /// sent: what it is for shows otherwise. That Redis would refuse it is learnt from `refused`: see
    /// [`Link::would_block`]. When this future is dropped, the connection is closed, and Redis stops waiting.
    pub(super) async fn blocking(&self, doing: &str, refused: &Cmd, command: &Cmd, wait: Duration) -> Result<(), Error> {
        let idle = lock(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let made = by(Instant::now() + self.timeout, self.timeout, self.connect()).await;
                made.map_err(|error| self.explain(CONNECT, &error))?
            }
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

    async fn connection_by(&self, deadline: Instant) -> Result<(Connection, u64), Error> {
        let connected = by(deadline, self.timeout, self.connection()).await;
        connected.map_err(|error| self.explain(CONNECT, &error))
    }

    async fn run(&self, doing: &str, request: Request<'_>) -> Result<Value, Error> {
        let deadline = Instant::now() + self.timeout;
        let (mut connection, generation) = self.connection_by(deadline).await?;
        by(deadline, self.timeout, connection.ask(request)).await.map_err(|failure| {
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
        let stream = self.way.connect(within).await?;
        let traffic = Traffic::new(&self.limit);
        let guarded = Guarded::new(stream, Arc::clone(&traffic));
        // The crate's own response time-out of 500 ms would break commands that block; ours are around every call.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let login = self.info.redis_settings().clone();
        let login = match &self.password {
            Some(password) => login.set_password(&*password.now()),
            None => login,
        };
        let made = MultiplexedConnection::new_with_config(&login, guarded, config).await;
        let (client, driver) = made.map_err(|error| Failure::new(error, &traffic))?;
        let mut connection = Connection { client, traffic, _driver: Arc::new(Driver(tokio::spawn(driver))) };
        // For operators who look at CLIENT LIST. An ACL may forbid it, and nothing depends on it.
        let mut name = redis::cmd("CLIENT");
        drop(connection.ask(Request::Command(name.arg("SETNAME").arg("kadabra"))).await);
        Ok(connection)
    }

    fn forget(&self, generation: u64) {
        let mut shared = lock(&self.shared);
        if shared.generation == generation {
            shared.connection = None;
        }
    }

    fn explain(&self, doing: &str, failure: &Failure) -> Error {
        match failure {
            Failure::Redis(error) => errors::explain(doing, &self.server, error),
            Failure::Unreached(failure) => Error::Other(ChannelError::Unreachable {
                what: format!("cannot {CONNECT} to {}", self.server),
                why: [failure.to_string(), failure.remedy()].join(": "),
            }),
            Failure::Cut(excess) => Error::Other(errors::excess(doing, &self.server, *excess)),
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

enum Request<'a> {
    Command(&'a Cmd),
    /// One that Redis refuses for its time-out, if not for anything else.
    Refused(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

/// A connection of the client's, for as many as clone it. With the last of them it is closed.
#[derive(Clone)]
struct Connection {
    client: MultiplexedConnection,
    traffic: Arc<Traffic>,
    _driver: Arc<Driver>,
}

impl Connection {
    async fn ask(&mut self, request: Request<'_>) -> Result<Value, Failure> {
        let answer = match request {
            Request::Command(command) => command.query_async(&mut self.client).await,
            Request::Refused(command) => match command.query_async(&mut self.client).await {
                Err(error) if errors::is_of_the_time_out(&error) => Ok(Value::Okay),
                other => other,
            },
            Request::Script(script) => script.invoke_async(&mut self.client).await,
        };
        answer.map_err(|error| Failure::new(error, &self.traffic))
    }

    /// Runs a command without its answer: Redis skips it, and the next command's answer says that it is over. `refused`
    /// comes before it, and is answered. Nothing else may use the connection meanwhile.
    async fn unanswered(&mut self, refused: &Cmd, command: &Cmd) -> Result<(), Failure> {
        let mut commands = redis::pipe();
        commands.add_command(refused.clone()).cmd("CLIENT").arg("REPLY").arg("SKIP");
        commands.add_command(command.clone()).cmd("PING");
        let answers = self.client.send_packed_commands(&commands, 0, 2).await;
        for answer in answers.map_err(|error| Failure::new(error, &self.traffic))? {
            match answer.extract_error() {
                Err(error) if !errors::is_of_the_time_out(&error) => return Err(Failure::Redis(error)),
                _ => {}
            }
        }
        self.traffic.all_is_answered();
        Ok(())
    }
}

/// What moves a connection's bytes.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn by<T>(deadline: Instant, patience: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let why = format!("no answer within {}", for_people(patience));
            Err(Failure::Redis(io::Error::new(io::ErrorKind::TimedOut, why).into()))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
