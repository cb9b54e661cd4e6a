//! Sentinels: asked where the primary is before each connection, and again every second, so that a connection to a server that is the
//! primary no more does not last, even where that server still answers.

use std::{
    future::pending,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::Value;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    answers,
    client::{Connection, Login, Request, by, lock},
    errors::{CLUSTER_KEYS, Names, SENTINEL_KEYS},
    failure::{Attempt, Failure},
    resp::Budget,
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
    service: Service { name: "the Sentinel", section: "channel.redis.sentinel", ..CLUSTER_KEYS.service },
    password_file: "channel.redis.sentinel.password_file",
    rights: |_| "+sentinel|get-master-addr-by-name +client|setname".to_owned(),
    ..*SENTINEL_KEYS
};

/// See the page.
pub(super) struct Sentinels {
    of: Settings,
    sentinels: Vec<Sentinel>,
    login: Login,
    /// When it is asked again, by one of the connections that there are.
    due: Mutex<Instant>,
    /// Where the primary is, as was said last.
    primary: watch::Sender<Option<HostAndPort>>,
    /// What was tried last as the primary, and in vain.
    in_vain: Mutex<Option<HostAndPort>>,
}

/// One of them.
struct Sentinel {
    node: HostAndPort,
    way: Way,
    /// It is asked on the same connection each time, while that lasts.
    kept: Mutex<Option<Connection>>,
}

/// What a configuration says of them.
#[derive(PartialEq)]
pub(super) struct Settings {
    pub(super) nodes: Vec<HostAndPort>,
    pub(super) master_name: String,
    pub(super) sentinel: config::Sentinel,
    /// What there is of TLS, where the primary speaks that.
    pub(super) tls_of_primary: Option<config::Tls>,
}

/// Those of this process.
static ALL: Mutex<Vec<Weak<Sentinels>>> = Mutex::new(Vec::new());

impl Sentinels {
    /// The same for all that are configured the same, as several queues are, so that the Sentinels are asked once for all of them.
    pub(super) fn of(settings: Settings) -> Arc<Self> {
        let mut all = lock(&ALL);
        if let Some(same) = all.iter().filter_map(Weak::upgrade).find(|it| it.of == settings) {
            return same;
        }
        let Settings { nodes, sentinel: config::Sentinel { user, password, use_tls, tls }, .. } = &settings;
        let sentinel = |node: &HostAndPort| Sentinel {
            node: node.clone(),
            way: Way::to(&OF_SENTINELS.service, node, use_tls.then(|| tls.clone())),
            kept: Mutex::default(),
        };
        let new = Arc::new(Self {
            sentinels: nodes.iter().map(sentinel).collect(),
            login: Login { settings: target::of_user(user.as_deref()), password: password.clone() },
            due: Mutex::new(Instant::now() + FOLLOW),
            primary: watch::Sender::new(None),
            in_vain: Mutex::default(),
            of: settings,
        });
        all.retain(|it| it.strong_count() > 0);
        all.push(Arc::downgrade(&new));
        new
    }

    pub(super) async fn connect(self: &Arc<Self>, login: &Login, within: Duration) -> Result<Connection, Failure> {
        let deadline = Instant::now() + within;
        let primary = self.ask_all(share(within), false).await?;
        let connected = self.connect_to(&primary, login, deadline).await;
        *lock(&self.in_vain) = connected.is_err().then_some(primary);
        connected
    }

    async fn connect_to(
        self: &Arc<Self>,
        primary: &HostAndPort,
        login: &Login,
        deadline: Instant,
    ) -> Result<Connection, Failure> {
        let way = Way::to(&SENTINEL_KEYS.service, primary, self.of.tls_of_primary.clone());
        let stream = way.connect(deadline.saturating_duration_since(Instant::now())).await?;
        Connection::open(stream, login, Arc::clone(self).until_it_is_not(primary.clone())).await
    }

    /// Is over when another server is the primary.
    async fn until_it_is_not(self: Arc<Self>, server: HostAndPort) {
        let mut primary = self.primary.subscribe();
        select! {
            // It is there as long as its sender, which this has.
            _ = primary.wait_for(|now| now.as_ref() != Some(&server)) => {}
            () = self.follow() => {}
        }
    }

    /// Has it asked every second, and never ends. Of all connections, which the threads that made them serve, one asks: whichever comes
    /// first.
    async fn follow(&self) {
        loop {
            let due = *lock(&self.due);
            sleep_until(due).await;
            let is_first = {
                let mut next = lock(&self.due);
                let is_first = *next == due;
                if is_first {
                    *next = Instant::now() + FOLLOW;
                }
                is_first
            };
            if is_first {
                // Who none answers keeps to what it knows. Far larger than what each connection is.
                drop(Box::pin(self.ask_all(FOLLOW, true)).await);
            }
        }
    }

    /// Asks all of them at once, so that one that hangs holds nothing up, and takes what most say: one that was cut off from the others
    /// may know of an older primary. `every_one`: also of those is it noticed how they are that nothing depends on any more.
    async fn ask_all(&self, within: Duration, every_one: bool) -> Result<HostAndPort, Failure> {
        let mut asking: FuturesUnordered<_> = self.sentinels.iter().map(|sentinel| self.ask_within(sentinel, within)).collect();
        let (mut said, mut attempts) = (Vec::new(), Vec::new());
        while let Some((sentinel, outcome)) = asking.next().await {
            match outcome {
                Ok(primary) => said.push(primary),
                Err(failure) => attempts.push(Attempt { at: target::address(&sentinel.node), names: OF_SENTINELS, failure }),
            }
            let is_decided = said.iter().any(|it| votes(&said, it) * 2 > self.sentinels.len());
            if is_decided || asking.is_empty() {
                let Some(primary) = self.most_likely(&said) else { continue };
                self.primary.send_if_modified(|known| known.replace(primary.clone()).as_ref() != Some(&primary));
                if asking.is_empty() || !every_one {
                    return Ok(primary);
                }
            }
        }
        // Told in their order, and so in the same words each time.
        attempts.sort_by_key(|attempt| self.sentinels.iter().position(|it| target::address(&it.node) == attempt.at));
        Err(Failure::Nowhere(attempts))
    }

    /// What most of them say. Where as many say another, what is not known to be in vain, and then what was said before.
    fn most_likely(&self, said: &[HostAndPort]) -> Option<HostAndPort> {
        let (in_vain, known) = (lock(&self.in_vain), self.primary.borrow());
        let rank = |it: &&HostAndPort| (votes(said, it), in_vain.as_ref() != Some(*it), known.as_ref() == Some(*it));
        said.iter().max_by_key(rank).cloned()
    }

    async fn ask_within<'a>(&self, sentinel: &'a Sentinel, within: Duration) -> (&'a Sentinel, Result<HostAndPort, Failure>) {
        let outcome = by(Instant::now() + within, within, self.ask(sentinel, within)).await;
        if !matches!(outcome, Ok(_) | Err(Failure::NoSuchMaster)) {
            *lock(&sentinel.kept) = None;
        }
        (sentinel, outcome)
    }

    async fn ask(&self, sentinel: &Sentinel, within: Duration) -> Result<HostAndPort, Failure> {
        let kept = lock(&sentinel.kept).clone();
        if let Some(kept) = kept {
            match self.ask_on(kept).await {
                // Closed since it was used last, as by a restart of the Sentinel.
                Err(failure) if failure.is_for_good() && !matches!(failure, Failure::NoSuchMaster) => {}
                answer => return answer,
            }
        }
        let stream = sentinel.way.connect(within).await?;
        let new = Connection::open(stream, &self.login, pending()).await?;
        *lock(&sentinel.kept) = Some(new.clone());
        self.ask_on(new).await
    }

    async fn ask_on(&self, connection: Connection) -> Result<HostAndPort, Failure> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.of.master_name);
        let Value::Array(answer) = connection.ask(Request::Command(&command), Budget::ORDINARY).await? else {
            return Err(Failure::NoSuchMaster);
        };
        let mut texts = answer.into_iter().map(answers::text);
        let (host, port) = (texts.next().flatten(), texts.next().flatten().and_then(|port| port.parse().ok()));
        host.zip(port).ok_or(Failure::NoSuchMaster)
    }
}

/// How many say this.
fn votes(said: &[HostAndPort], this: &HostAndPort) -> usize {
    said.iter().filter(|it| *it == this).count()
}
