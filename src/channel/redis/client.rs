//! One connection to a Redis: guarded, logged in, and there for as many as clone it.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind, Value};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{errors, failure::Failure, questions::Questions, resp::Budget, scripts::Invocation, stream::Stream};
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
    Script(&'a Invocation<'a>),
}

/// With the last clone of it, it is closed.
#[derive(Clone)]
pub(super) struct Connection {
    questions: Questions,
    _driver: Arc<Task>,
}

impl Connection {
    /// Logs in over a stream. The connection breaks when `until` is over, if it ever is.
    pub(super) async fn open(
        stream: Stream,
        login: &Login,
        until: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, Failure> {
        let (questions, driver) = Questions::over(stream);
        let driver = Task::spawn(async {
            tokio::select! {
                () = driver => {}
                () = until => {}
            }
        });
        let connection = Self { questions, _driver: Arc::new(driver) };
        connection.log_in(login).await?;
        Ok(connection)
    }

    async fn log_in(&self, Login { settings, password }: &Login) -> Result<(), Failure> {
        let mut commands = redis::pipe();
        let now = password.as_ref().map(Secret::now);
        let password = now.as_deref().or(settings.password());
        if let Some(password) = password {
            commands.cmd("AUTH").arg(settings.username()).arg(password);
        }
        if settings.db() != 0 {
            commands.cmd("SELECT").arg(settings.db());
        }
        // For operators who look at CLIENT LIST. An ACL may forbid it, and nothing depends on it.
        commands.cmd("CLIENT").arg("SETNAME").arg("kadabra");
        let mut answers = self.pipeline(&commands, commands.len()).await?.into_iter();
        if password.is_some() {
            logged_in(answers.next(), (ErrorKind::AuthenticationFailed, "Password authentication failed"))?;
        }
        if settings.db() != 0 {
            let refused = ServerErrorKind::ResponseError.into();
            logged_in(answers.next(), (refused, "Redis server refused to switch database"))?;
        }
        match answers.next().unwrap_or_default().extract_error() {
            Err(error) if errors::wants_new_connection(&error) => Err(Failure::Redis(error)),
            _ => Ok(()),
        }
    }

    /// Asks for an answer within a budget.
    pub(super) async fn ask(&self, request: Request<'_>, budget: Budget) -> Result<Value, Failure> {
        match request {
            Request::Command(command) => self.command(command, budget).await,
            Request::Refused(command) => match self.command(command, budget).await {
                Err(Failure::Redis(error)) if errors::is_of_the_time_out(&error) => Ok(Value::Okay),
                other => other,
            },
            Request::Script(script) => {
                let command = script.command();
                match self.command(&command, budget).await {
                    Err(Failure::Redis(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        self.command(&script.script.load(), Budget::ORDINARY).await?;
                        self.command(&command, budget).await
                    }
                    other => other,
                }
            }
        }
    }

    async fn command(&self, command: &Cmd, budget: Budget) -> Result<Value, Failure> {
        let mut answers = self.questions.ask(command.get_packed_command(), 1, budget).await?;
        answers.pop().unwrap_or_default().extract_error().map_err(Failure::Redis)
    }

    async fn pipeline(&self, commands: &Pipeline, answers: usize) -> Result<Vec<Value>, Failure> {
        self.questions.ask(commands.get_packed_pipeline(), answers, Budget::ORDINARY).await
    }

    /// Runs a command without its answer: Redis skips it, and the next command's answer says that it is over. `refused`
    /// comes before it, and is answered. Nothing else may use the connection meanwhile.
    pub(super) async fn unanswered(&self, refused: &Cmd, command: &Cmd) -> Result<(), Failure> {
        let mut commands = redis::pipe();
        commands.add_command(refused.clone()).cmd("CLIENT").arg("REPLY").arg("SKIP");
        commands.add_command(command.clone()).cmd("PING");
        for answer in self.pipeline(&commands, 2).await? {
            match answer.extract_error() {
                Err(error) if !errors::is_of_the_time_out(&error) => return Err(Failure::Redis(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a step of the login was taken. The client's words are those for it; the server's own are the detail.
fn logged_in(answer: Option<Value>, (kind, refused): (ErrorKind, &'static str)) -> Result<(), Failure> {
    match answer.unwrap_or_default().extract_error() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Redis(RedisError::from((kind, refused, error.to_string())))),
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
