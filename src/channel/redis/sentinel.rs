//! Sentinels: asked where the primary is before each connection, and again every second, so that a connection to a server that is the
//! primary no more does not last, even where that server still answers.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    answers,
    client::{Connection, Login, Request, Task, by, lock},
    errors::{Names, SENTINEL_KEYS},
    failure::{Attempt, Failure},
    guard::Limit,
    route::share,
    stream::Way,
    target,
};
use crate::{
    config::{self, HostAndPort},
    connect::Service,
};

/// How often it is asked whether the primary is another one by now.
const FOLLOW: Duration = Duration::from_secs(1);

/// What an operator sets of the Sentinels themselves.
const OF_SENTINELS: &Names = &Names {
    service: Service { name: "the Sentinel", ..SENTINEL_KEYS.service },
    password_file: "channel.redis.sentinel.password_file",
    rights: |_| "+sentinel|get-master-addr-by-name +client|setname +ping".to_owned(),
    ..*SENTINEL_KEYS
};

/// See the page.
pub(super) struct Sentinels {
    asked: Arc<Asked>,
    /// What there is of TLS, where the primary speaks that.
    tls: Option<config::Tls>,
    /// Asks while there are connections.
    follower: Mutex<Option<Task>>,
}

struct Asked {
    nodes: Vec<HostAndPort>,
    ways: Vec<Way>,
    master_name: String,
    login: Login,
    limit: Limit,
    /// Which one answered last; the others are asked when it does not.
    first: AtomicUsize,
    /// Where the primary is, as was said last.
    primary: watch::Sender<Option<HostAndPort>>,
}

impl Sentinels {
    pub(super) fn new(
        nodes: &[HostAndPort],
        master_name: &str,
        settings: &config::Sentinel,
        tls_of_primary: Option<config::Tls>,
    ) -> Self {
        let tls = settings.use_tls.then(|| settings.tls.clone());
        let login = Login { settings: target::of_user(settings.user.as_deref()), password: settings.password.clone() };
        let asked = Asked {
            ways: nodes.iter().map(|node| Way::to(&OF_SENTINELS.service, node, tls.clone())).collect(),
            nodes: nodes.to_vec(),
            master_name: master_name.to_owned(),
            login,
            limit: Limit::new(),
            first: AtomicUsize::new(0),
            primary: watch::Sender::new(None),
        };
        Self { asked: Arc::new(asked), tls: tls_of_primary, follower: Mutex::default() }
    }

    pub(super) async fn connect(&self, login: &Login, limit: &Limit, within: Duration) -> Result<Connection, Failure> {
        let deadline = Instant::now() + within;
        let primary = self.asked.ask_all(deadline, share(within)).await?;
        self.follow();
        let way = Way::to(&SENTINEL_KEYS.service, &primary, self.tls.clone());
        let stream = way.connect(deadline.saturating_duration_since(Instant::now())).await?;
        Connection::open(stream, login, limit, self.until_it_is_not(primary)).await
    }

    fn follow(&self) {
        let mut follower = lock(&self.follower);
        if follower.as_ref().is_none_or(Task::is_over) {
            let asked = Arc::clone(&self.asked);
            *follower = Some(Task::spawn(async move {
                loop {
                    sleep(FOLLOW).await;
                    // Who none answers keeps to what it knows.
                    drop(asked.ask_all(Instant::now() + FOLLOW * 2, FOLLOW).await);
                }
            }));
        }
    }

    /// Is over when another server is the primary.
    fn until_it_is_not(&self, server: HostAndPort) -> impl Future<Output = ()> + Send + 'static {
        let mut primary = self.asked.primary.subscribe();
        async move {
            if primary.wait_for(|now| now.as_ref() != Some(&server)).await.is_err() {
                pending::<()>().await;
            }
        }
    }
}

impl Asked {
    /// Asks one after the other until one knows.
    async fn ask_all(&self, deadline: Instant, each: Duration) -> Result<HostAndPort, Failure> {
        let mut attempts = Vec::new();
        let first = self.first.load(Ordering::Relaxed);
        for number in (first..self.nodes.len()).chain(0..first) {
            let (Some(node), Some(way)) = (self.nodes.get(number), self.ways.get(number)) else { continue };
            let until = deadline.min(Instant::now() + each);
            let failure = match by(until, each, self.ask(way, each)).await {
                Ok(primary) => {
                    self.first.store(number, Ordering::Relaxed);
                    self.primary.send_if_modified(|known| known.replace(primary.clone()).as_ref() != Some(&primary));
                    return Ok(primary);
                }
                Err(failure) => failure,
            };
            attempts.push(Attempt { at: target::address(node), names: OF_SENTINELS, failure });
        }
        Err(Failure::Nowhere(attempts))
    }

    async fn ask(&self, way: &Way, within: Duration) -> Result<HostAndPort, Failure> {
        let stream = way.connect(within).await?;
        let mut connection = Connection::open(stream, &self.login, &self.limit, pending()).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master_name);
        let Value::Array(answer) = connection.ask(Request::Command(&command)).await? else { return Err(Failure::NoSuchMaster) };
        let mut texts = answer.into_iter().map(answers::text);
        let (host, port) = (texts.next().flatten(), texts.next().flatten().and_then(|port| port.parse().ok()));
        host.zip(port).ok_or(Failure::NoSuchMaster)
    }
}
