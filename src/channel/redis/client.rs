//! One connection to a Redis: guarded, logged in, and there for as many as clone it.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, ScriptInvocation, Value, aio::MultiplexedConnection};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    errors,
    failure::Failure,
    guard::{Guarded, Limit, Traffic},
    stream::Stream,
};
use crate::config::Secret;

/// As which user, and for which database.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) settings: RedisConnectionInfo,
    /// It takes the place of one in the settings.
    pub(super) password: Option<Secret>,
}

pub(super) enum Request<'a> {
    Command(&'a Cmd),
    /// One that Redis refuses for its time-out, if not for anything else.
    Refused(&'a Cmd),
    Script(&'a ScriptInvocation<'a>),
}

/// With the last clone of it, it is closed.
#[derive(Clone)]
pub(super) struct Connection {
    client: MultiplexedConnection,
    traffic: Arc<Traffic>,
    _driver: Arc<Task>,
}

impl Connection {
    /// Logs in over a stream. The connection breaks when `until` is over, if it ever is.
    pub(super) async fn open(
        stream: Stream,
        login: &Login,
        limit: &Limit,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, Failure> {
        let traffic = Traffic::new(limit);
        let guarded = Guarded::new(stream, Arc::clone(&traffic));
        // The crate's own response time-out of 500 ms would break commands that block; ours are around every call.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        // The name of the crate is of no use to an operator, and one more right.
        let settings = login.settings.clone().set_skip_set_lib_name();
        let settings = match &login.password {
            Some(password) => settings.set_password(&*password.now()),
            None => settings,
        };
        let made = MultiplexedConnection::new_with_config(&settings, guarded, config).await;
        let (client, driver) = made.map_err(|error| Failure::new(error, &traffic))?;
        let driver = Task::spawn(async {
            tokio::select! {
                () = driver => {}
                () = until => {}
            }
        });
        let mut connection = Self { client, traffic, _driver: Arc::new(driver) };
        // For operators who look at CLIENT LIST. An ACL may forbid it, and nothing depends on it.
        let mut name = redis::cmd("CLIENT");
        match connection.ask(Request::Command(name.arg("SETNAME").arg("kadabra"))).await {
            Err(failure) if failure.is_for_good() => Err(failure),
            _ => Ok(connection),
        }
    }

    pub(super) async fn ask(&mut self, request: Request<'_>) -> Result<Value, Failure> {
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
    pub(super) async fn unanswered(&mut self, refused: &Cmd, command: &Cmd) -> Result<(), Failure> {
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

/// A task that ends with what it belongs to.
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Whether it runs no more, as when the thread that made it is gone.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Work that is given up at a deadline, which then is that there was no answer within `patience`.
pub(super) async fn by<T>(
    deadline: Instant,
    patience: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout_at(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::late(patience)),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
