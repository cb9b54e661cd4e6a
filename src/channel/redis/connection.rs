//! Connections to Redis: one that all commands share, and one for each receive that waits.
//!
//! A connection that failed is forgotten, and the next call makes a new one: one attempt a call, and when to
//! call again is the caller's business. A call never takes longer than the time-out, connecting included.
//!
//! A connection is served by the thread that made it and may be used from any. When that thread is stuck or gone,
//! a call fails in time like on any broken connection, and the next one connects on its own thread.

use std::{
    fmt,
    future::Future,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ScriptInvocation, Value, aio::MultiplexedConnection,
};
use tokio::time::{Instant, timeout_at};

use super::{errors, target};
use crate::{channel::ChannelError, config};

/// The way to one Redis.
pub(super) struct Link {
    client: Client,
    /// The URL without its secrets.
    pub(super) target: String,
    /// The key pattern that an ACL must allow.
    pattern: String,
    timeout: Duration,
    shared: Mutex<Shared>,
    /// Connections on which nobody waits now.
    idle: Mutex<Vec<MultiplexedConnection>>,
    /// So that callers who find no connection make one, not one each.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Shared {
    connection: Option<MultiplexedConnection>,
    /// Which connection this is, so that a late failure does not take down its successor.
    generation: u64,
}

impl Link {
    pub(super) fn new(settings: &config::Redis, pattern: String) -> Result<Self, ChannelError> {
        // rustls needs to be told which cryptography to use. Whoever was first has decided; both parties here want ring.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (info, target) = target::parse(settings)?;
        let client = Client::open(info).map_err(|error| errors::sentence(CONNECT, &target, &pattern, &error))?;
        Ok(Self {
            client,
            target,
            pattern,
            timeout: settings.timeout,
            shared: Mutex::default(),
            idle: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        })
    }

    /// Runs a command.
    pub(super) async fn command(&self, doing: &str, command: &Cmd) -> Result<Value, ChannelError> {
        self.run(doing, Request::Command(command)).await
    }

    /// Runs commands in one round trip.
    pub(super) async fn pipeline(&self, doing: &str, pipeline: &Pipeline) -> Result<Value, ChannelError> {
        self.run(doing, Request::Pipeline(pipeline)).await
    }

    /// Runs a script by its hash, and loads it first when Redis has forgotten it.
    pub(super) async fn script(&self, doing: &str, script: &ScriptInvocation<'_>) -> Result<Value, ChannelError> {
        self.run(doing, Request::Script(script)).await
    }

    /// Runs a command that blocks in Redis for up to `wait`, on a connection of its own, and does not have its answer
    /// sent: what it is for shows otherwise. When this future is dropped, the connection is closed, and Redis stops
    /// waiting.
    pub(super) async fn blocking(&self, doing: &str, command: &Cmd, wait: Duration) -> Result<(), ChannelError> {
        let idle = lock(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let made = by(Instant::now() + self.timeout, self.timeout, self.connect()).await;
                made.map_err(|error| self.explain(CONNECT, &error))?
            }
        };
        let patience = wait + self.timeout;
        match by(Instant::now() + patience, patience, unanswered(&mut connection, command)).await {
            Ok(()) => {
                lock(&self.idle).push(connection);
                Ok(())
            }
            Err(error) => {
                // The others are of the same age: they would fail one by one.
                lock(&self.idle).clear();
                Err(self.explain(doing, &error))
            }
        }
    }

    /// An answer that is not what the command answers, as an error.
    pub(super) fn garbled(&self, doing: &str) -> ChannelError {
        errors::garbled(doing, &self.target)
    }

    async fn run(&self, doing: &str, request: Request<'_>) -> Result<Value, ChannelError> {
        let deadline = Instant::now() + self.timeout;
        let connected = by(deadline, self.timeout, self.connection()).await;
        let (mut connection, generation) = connected.map_err(|error| self.explain(CONNECT, &error))?;
        let answer = by(deadline, self.timeout, async {
            match request {
                Request::Command(command) => command.query_async(&mut connection).await,
                Request::Pipeline(pipeline) => pipeline.query_async(&mut connection).await,
                Request::Script(script) => script.invoke_async(&mut connection).await,
            }
        });
        answer.await.map_err(|error| {
            if matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse) || errors::wants_new_connection(&error) {
                self.forget(generation);
            }
            self.explain(doing, &error)
        })
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
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

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        // The crate's own response time-out of 500 ms would break commands that block; ours are around every call.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // For whoever looks at CLIENT LIST. An ACL may forbid it, and nothing depends on it.
        let mut name = redis::cmd("CLIENT");
        drop(name.arg("SETNAME").arg("kadabra").query_async::<Value>(&mut connection).await);
        Ok(connection)
    }

    fn forget(&self, generation: u64) {
        let mut shared = lock(&self.shared);
        if shared.generation == generation {
            shared.connection = None;
        }
    }

    fn explain(&self, doing: &str, error: &RedisError) -> ChannelError {
        errors::sentence(doing, &self.target, &self.pattern, error)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client holds the password.
        f.debug_struct("Link").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Shared {
    fn found(&self) -> Option<(MultiplexedConnection, u64)> {
        self.connection.clone().map(|connection| (connection, self.generation))
    }
}

const CONNECT: &str = "connect";

enum Request<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    Script(&'a ScriptInvocation<'a>),
}

/// Runs a command without its answer: Redis skips it, and the next command's answer says that it is over.
async fn unanswered(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<(), RedisError> {
    let mut commands = redis::pipe();
    commands.cmd("CLIENT").arg("REPLY").arg("SKIP").add_command(command.clone()).cmd("PING");
    for answer in connection.send_packed_commands(&commands, 0, 1).await? {
        answer.extract_error()?;
    }
    Ok(())
}

async fn by<T>(
    deadline: Instant,
    patience: Duration,
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    match timeout_at(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let why = format!(
                "no answer within {}",
                humantime::format_duration(Duration::from_millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX)))
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, why).into())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
