//! What happens in a run, drawn from its seed before it begins: nothing here depends on what the run does.

use std::{fmt, time::Duration};

use fastrand::Rng;

use super::{
    arguments::{Channel, Settled, UPGRADED},
    destination::{PASSWORD, USER},
    fail_points,
    proxy::Mode,
    publishers::Kind,
};

/// Everything that a seed decides.
pub(crate) struct Schedule {
    pub(crate) agents: usize,
    /// No fail points, and the agents that have lived through the faults must do the rest by themselves: what was
    /// mended is noticed by them, not by those that come after them.
    pub(crate) unaided: bool,
    /// When the database is created; until then the agents find none.
    pub(crate) database_at: Duration,
    /// In the order of their beginning.
    pub(crate) events: Vec<Event>,
}

/// A fault from its beginning to its end.
#[derive(Clone)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) lane: Lane,
    pub(crate) fault: Fault,
}

/// What a fault befalls. One fault at a time on each, so that each ends before the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Agent(usize),
    /// The clock of an agent.
    Clock(usize),
    Redis,
    /// What a publisher writes to.
    Destination(usize),
    /// What the clients push over, and to a Redis the agents, too.
    WayToQueue,
    WayToDestination(usize),
    /// What the agent's own queue is on.
    Disk,
}

#[derive(Clone)]
pub(crate) enum Fault {
    /// kill -9; back at the end of the fault.
    Kill,
    /// SIGTERM; back as soon as it has ended.
    Terminate,
    /// SIGTERM, and again at the end of the fault; back as soon as it has ended.
    Insist,
    /// SIGSTOP until the end of the fault.
    Freeze,
    /// SIGTERM, and back at the end of the fault.
    Stop,
    CloseConnections,
    /// `CLIENT PAUSE`.
    PauseClients,
    FlushScripts,
    /// A Redis over its maxmemory, with noeviction; or no file can be written beyond so many bytes.
    Full(u64),
    /// A replica of nobody.
    ReadOnly,
    /// Dropped, with all that is in it, and created again at the end of the fault.
    DropDatabase,
    /// Authentication is on until the end of the fault, or nobody has the token that is asked for.
    Login,
    /// Whatever is written is stored, and answered by nothing.
    Mute,
    /// Every answer takes long.
    Crawl,
    /// So many hours ahead or behind; right again at the end of the fault.
    Jump(i32),
    Way(Mode),
    /// The primary is killed when it has had no replica for so long.
    Lag(Duration),
    /// SIGSTOP of the replica until the end of the fault.
    ReplicaFrozen,
    /// SIGSTOP of one of the Sentinels until the end of the fault.
    SentinelFrozen,
    /// By command, as an operator has it done.
    Failover,
    /// By the replica's own decision, without asking its primary or any other.
    TakeOver,
    /// SIGTERM, and back at the end of the fault as the next version, if there is one.
    Upgrade,
    /// The queue's slot moves to another node: some of its keys at once, the others at the end of the fault.
    Migrate,
}

/// Of several servers, whose faults begin only when all are well, and of one that has several versions.
const QUICK_REST: u64 = 1500;

pub(crate) fn draw(settled: &Settled, length: Duration) -> Schedule {
    let mut rng = Rng::with_seed(settled.seed);
    let embedded = settled.channel == Channel::Embedded;
    // The agent's own queue is its alone.
    let agents = if embedded { 1 } else { rng.usize(1..=3) };
    // Then all of them say their ledger, and the sums must be those of the messages.
    let no_kills = rng.u8(0..3) == 0;
    // Faults that are over before the next one begins, or hardly a moment without any.
    let rest = rng.u64(1000..9000);
    let database_at = Duration::from_millis(if rng.bool() { 0 } else { rng.u64(500..4000) });
    let mut events = Vec::new();
    let unaided = rng.u8(0..4) == 0;
    let queue = if embedded { Lane::Disk } else { Lane::Redis };
    let mut lanes = vec![queue, Lane::Destination(0), Lane::WayToQueue, Lane::WayToDestination(0)];
    lanes.extend((0..agents).map(Lane::Agent).chain((0..agents).map(Lane::Clock)));
    // Behind all others, so that one more publisher changes nothing for the first.
    lanes.extend((1..settled.publishers.len()).flat_map(|place| [Lane::Destination(place), Lane::WayToDestination(place)]));
    for lane in lanes {
        let is_quick = settled.channel.is_of_several_servers() || settled.redis == Some(UPGRADED);
        let rest = if lane == Lane::Redis && is_quick { QUICK_REST } else { rest };
        // A generator for each, so that one more fault here changes nothing there.
        let mut rng = rng.fork();
        let mut at = Duration::from_millis(rng.u64(500..6000));
        if matches!(lane, Lane::Destination(_)) {
            // It is there when the database is to be created.
            at += database_at;
        }
        // An agent that keeps the queue is killed many times in quick succession, also while it starts.
        let mut kills = 0;
        loop {
            let (mut fault, mut lasts) = draw_fault(lane, settled, no_kills, &mut rng);
            if kills > 0 {
                kills -= 1;
                (fault, lasts) = (Fault::Kill, Duration::from_millis(rng.u64(1..50)));
            } else if embedded && matches!(fault, Fault::Kill) && rng.bool() {
                kills = rng.u32(2..12);
            }
            if at + lasts > length {
                break;
            }
            events.push(Event { at, lasts, lane, fault });
            at += lasts + Duration::from_millis(if kills > 0 { rng.u64(1..500) } else { rng.u64(300..rest) });
        }
    }
    events.sort_by_key(|event| event.at);
    Schedule { agents, unaided, database_at, events }
}

fn draw_fault(lane: Lane, settled: &Settled, no_kills: bool, rng: &mut Rng) -> (Fault, Duration) {
    let mut ms = |from, to| Duration::from_millis(rng.u64(from..to));
    let (moment, short, long) = (ms(1, 50), ms(200, 2500), ms(2500, 6000));
    match lane {
        Lane::Agent(_) => match rng.u8(0..8) {
            0 | 1 if !no_kills => (Fault::Kill, short),
            2 if !no_kills => (Fault::Insist, short),
            0..=4 => (Fault::Terminate, moment),
            // Beyond the lease of two seconds, so that its messages are another's when it wakes up.
            _ => (Fault::Freeze, long),
        },
        Lane::Redis if settled.channel == Channel::Sentinel => match rng.u8(0..16) {
            0 | 1 => (Fault::Kill, long),
            2 | 3 => (Fault::Freeze, long),
            4..=7 => (Fault::Failover, moment),
            8 | 9 => (Fault::Lag(short / 2), long),
            10 => (Fault::ReplicaFrozen, short),
            11 => (Fault::SentinelFrozen, long),
            12 => (Fault::CloseConnections, moment),
            13 => (Fault::PauseClients, short),
            14 => (Fault::FlushScripts, moment),
            _ => (Fault::Full(1), long),
        },
        Lane::Redis if settled.channel == Channel::Cluster => match rng.u8(0..14) {
            0 | 1 => (Fault::Kill, long),
            2 => (Fault::Freeze, long),
            3 => (Fault::Failover, moment),
            4 => (Fault::TakeOver, moment),
            5 => (Fault::Lag(short / 2), long),
            6 | 7 => (Fault::Migrate, moment),
            8 | 9 => (Fault::Migrate, short),
            10 => (Fault::ReplicaFrozen, short),
            11 => (Fault::CloseConnections, moment),
            12 => (Fault::FlushScripts, moment),
            _ => (Fault::Full(1), long),
        },
        Lane::Redis if settled.redis == Some(UPGRADED) && rng.bool() => (Fault::Upgrade, short),
        Lane::Redis => match rng.u8(0..8) {
            0 | 1 => (Fault::Kill, short),
            2 => (Fault::Freeze, short),
            3 => (Fault::CloseConnections, moment),
            4 => (Fault::PauseClients, short),
            5 => (Fault::FlushScripts, moment),
            6 => (Fault::Full(1), long),
            _ => (Fault::ReadOnly, long),
        },
        // Nothing at all can be written, or the log's beginning, or nearly all that there is of it.
        Lane::Disk => (Fault::Full(1 << rng.u32(10..24)), if rng.bool() { short } else { long }),
        Lane::Clock(_) => (Fault::Jump(if rng.bool() { 5 } else { -5 }), if rng.bool() { short } else { long }),
        Lane::Destination(place) => match settled.publishers[place].kind {
            Kind::Influxdb => match rng.u8(0..7) {
                0 => (Fault::Kill, short),
                1 => (Fault::Stop, short),
                2 => (Fault::Freeze, short),
                3 => (Fault::Freeze, long),
                4 => (Fault::DropDatabase, short),
                5 => (Fault::Login, short),
                _ => (Fault::Login, long),
            },
            Kind::Influxdb2 | Kind::Influxdb3 => match rng.u8(0..6) {
                0 => (Fault::Stop, short),
                1 => (Fault::Stop, long),
                2 => (Fault::Login, short),
                3 => (Fault::Login, long),
                4 => (Fault::Mute, short),
                _ => (Fault::Crawl, long),
            },
            // What it answered is in its memory for a while, so that a kill would lose it.
            Kind::Victoriametrics => match rng.u8(0..4) {
                0 => (Fault::Stop, short),
                1 => (Fault::Stop, long),
                2 => (Fault::Freeze, short),
                _ => (Fault::Freeze, long),
            },
        },
        Lane::WayToQueue | Lane::WayToDestination(_) => (Fault::Way(draw_way(lane, rng)), if rng.bool() { short } else { long }),
    }
}

fn draw_way(lane: Lane, rng: &mut Rng) -> Mode {
    let every = rng.u32(1..8);
    match rng.u8(0..12) {
        0 => Mode::Slow(Duration::from_millis(rng.u64(5..400))),
        1 => Mode::Narrow { bytes_per_second: rng.usize(2_000..20_000) },
        2 | 3 => Mode::CutRequest { every },
        4 | 5 => Mode::CutAnswer { every },
        6 => Mode::Hold,
        7 => Mode::Swallow,
        8 => Mode::Say(draw_answer(lane, rng)),
        9 => Mode::Trickle(draw_flood(lane, rng)),
        10 if lane != Lane::WayToQueue => Mode::Headers,
        _ => Mode::Flood(draw_flood(lane, rng)),
    }
}

/// Answers that nobody sent. None of them claims that something was done that was not.
fn draw_answer(lane: Lane, rng: &mut Rng) -> Vec<u8> {
    let garbage: &[&[u8]] = &[b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\0\xff\xfe\r\n", b"\r\n\r\n", b""];
    let redis: &[&[u8]] =
        &[b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown\r\n", b"-LOADING Redis is loading\r\n", b"*-7\r\n", b"$9999"];
    let influxdb: &[&str] = &[
        "401 Unauthorized\r\n|{\"error\":\"authorization failed\"}",
        "403 Forbidden\r\n|{\"error\":\"not authorized\"}",
        "404 Not Found\r\n|{\"error\":\"database not found: \\\"kadabra\\\"\"}",
        "429 Too Many Requests\r\nRetry-After: 1\r\n|",
        "500 Internal Server Error\r\n|{\"error\":\"engine is closed\"}",
        "503 Service Unavailable\r\n|{\"error\":\"timeout\"}",
        "200 OK\r\n|<html>Welcome!</html>",
        "302 Found\r\nLocation: http://127.0.0.1:9/\r\n|",
    ];
    if rng.u8(0..4) == 0 {
        return rng.choice(garbage).unwrap().to_vec();
    }
    if lane == Lane::WayToQueue {
        return rng.choice(redis).unwrap().to_vec();
    }
    let (head, body) = rng.choice(influxdb).unwrap().split_once('|').unwrap();
    format!("HTTP/1.1 {head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn draw_flood(lane: Lane, rng: &mut Rng) -> Vec<u8> {
    let redis: &[&[u8]] = &[b"$1000000000\r\n", b"+", b"-ERR ", b"*1000000\r\n$20\r\n"];
    let influxdb: &[&[u8]] = &[
        b"HTTP/1.1 500 No\r\nContent-Length: 100000000000\r\n\r\n",
        b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 500 No\r\nX: ",
    ];
    rng.choice(if lane == Lane::WayToQueue { redis } else { influxdb }).unwrap().to_vec()
}

/// How one life of an agent differs from the default: environment variables.
pub(crate) fn draw_life(settled: &Settled, agent: usize, life: u32) -> Vec<(String, String)> {
    let Settled { channel, publishers, seed, .. } = settled;
    let mut rng = Rng::with_seed(seed ^ (0x9e37_79b9 * (1 + agent as u64)) ^ (u64::from(life) << 40));
    let mut pick = |among: &[&str]| (*rng.choice(among).unwrap()).to_owned();
    let mut variables = Vec::new();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    set("KADABRA_BATCH__MAX_MESSAGES", pick(&["20", "100", "1000", "10000"]));
    set("KADABRA_BATCH__INTERVAL", pick(&["0s", "0s", "300ms", "3s"]));
    let [workers, gzip, timeout] = [&["1", "2", "3"][..], &["false", "true"], &["500ms", "2s"]].map(&mut pick);
    set("KADABRA_AGENT__SHUTDOWN_TIMEOUT", pick(&["2s", "10s"]));
    set("KADABRA_SUPERVISOR__HANG_TIMEOUT", pick(&["3s", "5s"]));
    set("KADABRA_SUPERVISOR__MAX_RESTARTS", pick(&["4", "20"]));
    let create = pick(&["false", "false", "true"]);
    if *channel == Channel::Embedded {
        set("KADABRA_CHANNEL__EMBEDDED__DURABILITY", pick(&["process", "fsync"]));
        // A generator of its own, so that all else is what it was.
        let mut rng = Rng::with_seed(seed ^ 0x7374_616c_6c65_6421 ^ u64::from(life));
        let within = rng.choice(["0s", "50ms", "300ms", "2s"]).unwrap_or_default();
        set("KADABRA_CHANNEL__EMBEDDED__ANSWER_WITHIN", within.to_owned());
    }
    // Without a login, with the right one, with a wrong one.
    let password = pick(&["", PASSWORD, PASSWORD, "not this one"]);
    for (place, publisher) in publishers.iter().enumerate() {
        // Each of several is another one; a seed of old is what it was for the only one.
        let mut rng = Rng::with_seed(rng.clone().u64(..) ^ place as u64);
        let mut or = |first: &String, among: &[&str]| {
            if place == 0 { first.clone() } else { (*rng.choice(among).unwrap()).to_owned() }
        };
        let mut set = |key: &str, value: String| variables.push((publisher.variable(key), value));
        let section = publisher.section().to_uppercase();
        set("WORKERS", or(&workers, &["1", "2", "3"]));
        set(&format!("{section}__GZIP"), or(&gzip, &["false", "true"]));
        set(&format!("{section}__TIMEOUT"), or(&timeout, &["500ms", "2s"]));
        if publisher.kind == Kind::Influxdb {
            set("INFLUXDB__CREATE_DATABASE", or(&create, &["false", "false", "true"]));
            let password = or(&password, &["", PASSWORD, PASSWORD, "not this one"]);
            if !password.is_empty() {
                set("INFLUXDB__USERNAME", USER.to_owned());
                set("INFLUXDB__PASSWORD", password);
            }
        }
    }
    // Some lives are without, so that the other faults are met by agents that live for a while.
    if cfg!(feature = "failpoints") && rng.u8(0..4) > 0 {
        let points: Vec<String> = (0..rng.u8(2..=8)).map(|_| fail_points::draw(*channel, &mut rng)).collect();
        variables.push(("FAILPOINTS".to_owned(), points.join(";")));
    }
    variables
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, lane, fault } = self;
        write!(f, "{:7.3} s  {lane:?}: {fault} for {:.3} s", at.as_secs_f64(), lasts.as_secs_f64())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Kill => "killed",
            Self::Terminate | Self::Stop => "told to end",
            Self::Insist => "told to end twice",
            Self::Freeze => "frozen",
            Self::CloseConnections => "connections closed",
            Self::PauseClients => "clients paused",
            Self::FlushScripts => "scripts flushed",
            Self::Full(bytes) => return write!(f, "full at {bytes} B"),
            Self::ReadOnly => "read-only",
            Self::DropDatabase => "database dropped",
            Self::Login => "wants a login",
            Self::Mute => "stores and does not answer",
            Self::Crawl => "answers late",
            Self::Jump(hours) => {
                return write!(f, "{} h {}", hours.abs(), if *hours < 0 { "behind" } else { "ahead" });
            }
            Self::Way(mode) => return write!(f, "{mode}"),
            Self::Lag(lag) => return write!(f, "killed after {:.3} s without a replica", lag.as_secs_f64()),
            Self::ReplicaFrozen => "replica frozen",
            Self::SentinelFrozen => "a Sentinel frozen",
            Self::Failover => "failed over by command",
            Self::TakeOver => "taken over by its replica",
            Self::Migrate => "slot moved",
            Self::Upgrade => "upgraded",
        };
        f.write_str(what)
    }
}
