//! What every publisher promises, tried on each of them. A publisher more is a [`Destination`] and a line at the end.

use std::{
    cell::Cell,
    collections::BTreeSet,
    marker::PhantomData,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kadabra::{
    config::{Influxdb, InfluxdbApi, InfluxdbV1, InfluxdbV2, InfluxdbV3, Secret, TextMetadata, Tls, Victoriametrics},
    observe::log::KeptLog,
    publisher::{DebugPublisher, Form, LinePublisher, Outcome, Publisher, Refused},
    wire::{Decoder, MessageSet},
};
use serde_json::{Value, json};
use slog::Drain;

use crate::support::{
    http_server::Fault as ServerFault,
    influxd::Influxd,
    influxdb2::Influxdb2,
    influxdb3::{Influxdb3, Limits, Right},
    stand_in::{Reply, StandIn, answer},
    victoriametrics::VictoriaMetrics,
};

/// What can be wrong with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is answered.
    Away,
    /// It asks to be left alone for a second.
    Throttled,
    /// It takes little at once.
    Small,
    /// It takes no new series.
    Full,
    /// It is not what the configuration says, whatever is sent.
    Wrong,
}

/// Where metrics go, and what can happen to it.
pub(crate) trait Destination {
    /// An empty one.
    fn new() -> Self;
    /// A publisher to it.
    fn publisher(&self) -> Box<dyn Publisher>;
    /// The number of each message whose counter is there.
    fn published(&self) -> BTreeSet<usize>;
    /// Brings a fault about. Says whether it can have that one.
    fn fail(&mut self, fault: Fault) -> bool;
    /// Takes the fault away.
    fn mend(&mut self);
    /// Whether it refuses a field whose type is not the one that it knows.
    fn has_types(&self) -> bool;
}

/// Every promise as a test for one destination.
macro_rules! keeps_the_contract {
    ($module:ident, $destination:ty) => {
        mod $module {
            keeps_the_contract!($destination:
                every_point_arrives,
                a_batch_is_shared_and_let_go_once_it_is_encoded,
                a_batch_that_is_written_again_changes_nothing,
                a_batch_takes_the_place_of_the_one_before,
                nothing_to_write_is_written,
                requests_can_be_divided_and_memory_given_back,
                what_does_not_answer_is_tried_again_and_nothing_is_lost,
                a_pause_that_is_asked_for_is_told,
                what_is_too_much_at_once_is_split,
                what_an_operator_must_mend_is_held_until_it_is_mended,
                only_what_the_destination_cannot_hold_is_refused,
                a_destination_is_told_in_one_line,
            );
        }
    };
    ($destination:ty: $($promise:ident),* $(,)?) => {
        $(#[test] fn $promise() {
            actix_rt::System::new().block_on(super::$promise::<$destination>());
        })*
    };
}

/// Messages with one counter each, which has that metadata.
fn batch_with(numbers: std::ops::Range<usize>, metadata: impl Fn(usize) -> Value) -> Arc<MessageSet> {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    for number in numbers {
        let message = json!({
            "dimensions": [{ "name": "number", "value": number.to_string() }],
            "counters": [{ "name": "c", "metadata": metadata(number), "timestamp": "2026-03-01T12:00:00.000001Z", "value": 1.0 }],
            "timers": [],
            "timestamp_format": "%Y-%m-%dT%H:%M:%S.%fZ",
        });
        assert_eq!(decoder.decode(message.to_string().as_bytes(), &mut set), []);
    }
    Arc::new(set)
}

fn batch(numbers: std::ops::Range<usize>) -> Arc<MessageSet> {
    batch_with(numbers, |_| json!({}))
}

/// Writes until there is something else to do.
async fn write(publisher: &mut dyn Publisher) -> Outcome {
    loop {
        match publisher.write().await {
            Outcome::Progressed => {}
            outcome => return outcome,
        }
    }
}

/// Writes, as the agent does, until it is written. Returns what was refused.
async fn write_in_time(publisher: &mut dyn Publisher) -> Vec<Refused> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let outcome = write(publisher).await;
        if let Outcome::Written { refused } = outcome {
            return refused;
        }
        assert!(Instant::now() < end, "{outcome:?}");
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
}

fn all_written() -> Outcome {
    Outcome::Written { refused: Vec::new() }
}

fn numbers(numbers: std::ops::Range<usize>) -> BTreeSet<usize> {
    numbers.collect()
}

async fn every_point_arrives<D: Destination>() {
    let destination = D::new();
    let mut publisher = destination.publisher();
    for numbers in [0..1, 1..300, 300..2_300] {
        publisher.load(batch(numbers));
        assert_eq!(write(publisher.as_mut()).await, all_written());
    }
    assert_eq!(destination.published(), numbers(0..2_300));
    assert_eq!(publisher.probe().await, all_written());
    assert!(!publisher.is_stuck());
}

async fn a_batch_is_shared_and_let_go_once_it_is_encoded<D: Destination>() {
    let destination = D::new();
    let (mut one, mut other) = (destination.publisher(), destination.publisher());
    let shared = batch(0..300);
    one.load(Arc::clone(&shared));
    other.load(Arc::clone(&shared));
    assert_eq!((Arc::strong_count(&shared), shared.point_count()), (1, 300), "it is encoded");
    assert_eq!(write(one.as_mut()).await, all_written());
    assert_eq!(write(other.as_mut()).await, all_written());
    assert_eq!(destination.published(), numbers(0..300));

    // Too much to be encoded at once.
    let large = batch_with(300..6_300, |number| json!({ "text": format!("{number:1000}") }));
    let theirs = Arc::downgrade(&large);
    one.load(large);
    assert_eq!(write_in_time(one.as_mut()).await, []);
    assert!(theirs.upgrade().is_none(), "a written batch takes memory");
    assert_eq!(destination.published(), numbers(0..6_300));
}

async fn a_batch_that_is_written_again_changes_nothing<D: Destination>() {
    let destination = D::new();
    for _ in 0..2 {
        // Another agent, perhaps.
        let mut publisher = destination.publisher();
        publisher.load(batch(0..100));
        assert_eq!(write(publisher.as_mut()).await, all_written());
        assert_eq!(destination.published(), numbers(0..100));
    }
}

async fn a_batch_takes_the_place_of_the_one_before<D: Destination>() {
    let destination = D::new();
    let mut publisher = destination.publisher();
    publisher.load(batch(0..100));
    publisher.load(batch(100..200));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    assert_eq!(destination.published(), numbers(100..200));
}

async fn nothing_to_write_is_written<D: Destination>() {
    let destination = D::new();
    let mut publisher = destination.publisher();
    assert_eq!(write(publisher.as_mut()).await, all_written());
    publisher.load(batch(0..0));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    assert_eq!(destination.published(), numbers(0..0));
}

async fn requests_can_be_divided_and_memory_given_back<D: Destination>() {
    let destination = D::new();
    let mut publisher = destination.publisher();
    publisher.divide(64);
    publisher.load(batch(0..1_000));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    publisher.shrink();
    assert_eq!(write(publisher.as_mut()).await, all_written(), "there is nothing left of it");
    publisher.divide(1);
    publisher.load(batch(1_000..2_000));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    assert_eq!(destination.published(), numbers(0..2_000));
}

async fn what_does_not_answer_is_tried_again_and_nothing_is_lost<D: Destination>() {
    let mut destination = D::new();
    let mut publisher = destination.publisher();
    publisher.load(batch(0..100));
    if destination.fail(Fault::Away) {
        for _ in 0..10 {
            let outcome = write(publisher.as_mut()).await;
            let Outcome::Retry { after: None, why } = &outcome else { panic!("{outcome:?}") };
            assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
            assert!(matches!(publisher.probe().await, Outcome::Retry { .. }));
        }
        destination.mend();
    }
    assert_eq!(write_in_time(publisher.as_mut()).await, []);
    assert_eq!(destination.published(), numbers(0..100));
}

async fn a_pause_that_is_asked_for_is_told<D: Destination>() {
    let mut destination = D::new();
    let mut publisher = destination.publisher();
    publisher.load(batch(0..100));
    if destination.fail(Fault::Throttled) {
        let outcome = write(publisher.as_mut()).await;
        assert!(matches!(outcome, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(1)), "{outcome:?}");
        destination.mend();
    }
    assert_eq!(write_in_time(publisher.as_mut()).await, []);
    assert_eq!(destination.published(), numbers(0..100));
}

async fn what_is_too_much_at_once_is_split<D: Destination>() {
    let mut destination = D::new();
    let mut publisher = destination.publisher();
    destination.fail(Fault::Small);
    publisher.load(batch(0..2_000));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    assert_eq!(destination.published(), numbers(0..2_000));
}

async fn what_an_operator_must_mend_is_held_until_it_is_mended<D: Destination>() {
    for fault in [Fault::Wrong, Fault::Full] {
        let mut destination = D::new();
        let mut publisher = destination.publisher();
        publisher.load(batch(0..3));
        if destination.fail(fault) {
            let outcome = write(publisher.as_mut()).await;
            let Outcome::Hold { what, mend, .. } = &outcome else { panic!("{fault:?}: {outcome:?}") };
            assert!(![what, mend].iter().any(|said| said.is_empty() || said.contains('\n')), "{outcome:?}");
            if fault == Fault::Wrong {
                assert_eq!(publisher.probe().await, outcome, "it is still so");
            }
            destination.mend();
            assert_eq!(publisher.probe().await, all_written());
        }
        assert_eq!(write_in_time(publisher.as_mut()).await, []);
        assert_eq!(destination.published(), numbers(0..3), "{fault:?}");
    }
}

async fn only_what_the_destination_cannot_hold_is_refused<D: Destination>() {
    let destination = D::new();
    let mut publisher = destination.publisher();
    publisher.load(batch_with(0..10, |_| json!({ "f": 1.5 })));
    assert_eq!(write(publisher.as_mut()).await, all_written());
    publisher.load(batch_with(10..400, |number| if number % 100 == 0 { json!({ "f": "text" }) } else { json!({ "f": 2.5 }) }));
    let refused = write_in_time(publisher.as_mut()).await;
    let bad: BTreeSet<usize> = if destination.has_types() { [100, 200, 300].into() } else { BTreeSet::new() };
    assert!(refused.iter().all(|refused| refused.metric.as_deref() == Some("c") && !refused.reason.is_empty()), "{refused:?}");
    assert_eq!(refused.iter().map(|refused| 10 + refused.message).collect::<Vec<_>>(), Vec::from_iter(bad.clone()));
    assert_eq!(destination.published(), &numbers(0..400) - &bad);
    // An answer that was lost on the way to the channel is given once more.
    assert_eq!(write(publisher.as_mut()).await, Outcome::Written { refused });
}

async fn a_destination_is_told_in_one_line<D: Destination>() {
    let destination = D::new().publisher().destination();
    assert!(!destination.is_empty() && !destination.contains(char::is_control), "{destination:?}");
}

/// The log, which is always there.
struct Log(Arc<Mutex<Vec<String>>>);

struct Records(Arc<Mutex<Vec<String>>>);

impl Drain for Records {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

impl Destination for Log {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        let log = slog::Logger::root(Records(Arc::clone(&self.0)).fuse(), slog::o!());
        Box::new(DebugPublisher::new(KeptLog::at_once(log), Form::Json))
    }

    fn published(&self) -> BTreeSet<usize> {
        let records = self.0.lock().unwrap();
        let messages = records.iter().flat_map(|record| serde_json::from_str::<Vec<Value>>(record).unwrap());
        messages.map(|message| message["dimensions"][0]["value"].as_str().unwrap().parse().unwrap()).collect()
    }

    fn fail(&mut self, _: Fault) -> bool {
        false
    }

    fn mend(&mut self) {}

    fn has_types(&self) -> bool {
        false
    }
}

thread_local! {
    /// Whether the publishers that this test makes compress what they write.
    static GZIP: Cell<bool> = const { Cell::new(false) };
}

fn compressing<T>(make: impl FnOnce() -> T) -> T {
    GZIP.set(true);
    let made = make();
    GZIP.set(false);
    made
}

/// Any destination of requests whose bodies are compressed.
struct Compressed<D>(D);

impl<D: Destination> Destination for Compressed<D> {
    fn new() -> Self {
        Self(D::new())
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        compressing(|| self.0.publisher())
    }

    fn published(&self) -> BTreeSet<usize> {
        self.0.published()
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.0.fail(fault)
    }

    fn mend(&mut self) {
        self.0.mend();
    }

    fn has_types(&self) -> bool {
        self.0.has_types()
    }
}

fn influxdb(url: String) -> Box<dyn Publisher> {
    influxdb_with(url, InfluxdbApi::V1(InfluxdbV1 { database: "kadabra".to_owned(), ..InfluxdbV1::default() }))
}

fn influxdb_with(url: String, api: InfluxdbApi) -> Box<dyn Publisher> {
    Box::new(LinePublisher::influxdb(&Influxdb {
        url,
        api,
        tls: Tls::default(),
        proxy: None,
        timeout: Duration::from_secs(5),
        gzip: GZIP.get(),
        unique_timestamps: true,
    }))
}

/// InfluxDB 1.x.
struct RealInfluxdb {
    influxd: Influxd,
    fault: Option<Fault>,
}

impl Destination for RealInfluxdb {
    fn new() -> Self {
        let influxd = Influxd::start();
        influxd.create_database("kadabra");
        Self { influxd, fault: None }
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        influxdb(self.influxd.url())
    }

    fn published(&self) -> BTreeSet<usize> {
        let points = self.influxd.points("kadabra");
        points.iter().map(|point| point["tags"]["number"].as_str().unwrap().parse().unwrap()).collect()
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.fault = Some(fault);
        match fault {
            Fault::Away => self.influxd.kill(),
            Fault::Wrong => self.influxd.drop_database("kadabra"),
            Fault::Throttled | Fault::Small | Fault::Full => self.fault = None,
        }
        self.fault.is_some()
    }

    fn mend(&mut self) {
        match self.fault.take() {
            Some(Fault::Away) => self.influxd.start_again(),
            Some(Fault::Wrong) => self.influxd.create_database("kadabra"),
            _ => {}
        }
    }

    fn has_types(&self) -> bool {
        true
    }
}

/// What a stand-in says, and what speaks to it.
trait Speech: 'static {
    /// Whether a field has one type there for good.
    const HAS_TYPES: bool;

    fn publisher(url: String) -> Box<dyn Publisher>;

    /// The answer to a request of these lines.
    fn answer(stored: &mut Stored, request: &str) -> Reply;
}

/// A server that answers as a real one does, and has every fault.
struct StandInFor<S> {
    server: StandIn,
    state: Arc<Mutex<Stored>>,
    speech: PhantomData<S>,
}

impl<S: Speech> Destination for StandInFor<S> {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(Stored::default()));
        let answers = Arc::clone(&state);
        let server = StandIn::answering(move |request| S::answer(&mut answers.lock().unwrap(), request));
        Self { server, state, speech: PhantomData }
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        S::publisher(self.server.url())
    }

    fn published(&self) -> BTreeSet<usize> {
        self.state.lock().unwrap().numbers.clone()
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.state.lock().unwrap().fault = Some(fault);
        true
    }

    fn mend(&mut self) {
        self.state.lock().unwrap().fault = None;
    }

    fn has_types(&self) -> bool {
        S::HAS_TYPES
    }
}

#[derive(Default)]
struct Stored {
    numbers: BTreeSet<usize>,
    fault: Option<Fault>,
}

/// The number of a line's message.
fn number_of(line: &str) -> usize {
    let (_, number) = line.split_once("number=").unwrap();
    number.split(' ').next().unwrap().parse().unwrap()
}

/// InfluxDB 1.6.7.
struct InfluxdbSpeech;

impl Speech for InfluxdbSpeech {
    const HAS_TYPES: bool = true;

    fn publisher(url: String) -> Box<dyn Publisher> {
        influxdb(url)
    }

    fn answer(stored: &mut Stored, request: &str) -> Reply {
        let error = |status: &str, error: &str| answer(status, "", &json!({ "error": error }).to_string());
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let lines: Vec<&str> = body.lines().filter(|line| !line.is_empty()).collect();
        match stored.fault {
            Some(Fault::Away) => return Reply::Last(Vec::new()),
            Some(Fault::Throttled) => return answer("503 Service Unavailable", "Retry-After: 1\r\n", ""),
            Some(Fault::Small) if body.len() > 20_000 => {
                return error("413 Request Entity Too Large", "Request Entity Too Large");
            }
            Some(Fault::Wrong) => return error("404 Not Found", "database not found: \"kadabra\""),
            Some(Fault::Full) if !lines.is_empty() => {
                let limit = "partial write: max-series-per-database limit exceeded: (0) dropped=";
                return error("400 Bad Request", &format!("{limit}{}", lines.len()));
            }
            _ => {}
        }
        let is_good = |line: &&str| !line.contains("f=\"");
        stored.numbers.extend(lines.iter().copied().filter(is_good).map(number_of));
        match lines.iter().filter(|line| !is_good(line)).count() {
            0 => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            bad => {
                let conflict = "partial write: field type conflict: input field \"f\" on measurement \"c\" is type string, already exists as type float dropped=";
                error("400 Bad Request", &format!("{conflict}{bad}"))
            }
        }
    }
}

fn victoriametrics(url: String) -> Box<dyn Publisher> {
    Box::new(LinePublisher::victoriametrics(&Victoriametrics {
        url,
        tenant: None,
        username: None,
        password: None,
        token: None,
        tls: Tls::default(),
        proxy: None,
        extra_labels: None,
        text_metadata: TextMetadata::Drop,
        max_labels: 30,
        unique_timestamps: true,
        timeout: Duration::from_secs(5),
        gzip: GZIP.get(),
    }))
}

/// VictoriaMetrics, as it has to run to keep one of what is written twice.
struct RealVictoriametrics(VictoriaMetrics);

impl Destination for RealVictoriametrics {
    fn new() -> Self {
        Self(VictoriaMetrics::with(&["-retentionPeriod=100y", "-dedup.minScrapeInterval=1ms"]))
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        victoriametrics(self.0.url())
    }

    fn published(&self) -> BTreeSet<usize> {
        let samples = self.0.samples("c_value");
        let numbers: Vec<usize> =
            samples.iter().map(|sample| sample["metric"]["number"].as_str().unwrap().parse().unwrap()).collect();
        let unique = BTreeSet::from_iter(numbers.iter().copied());
        assert_eq!(unique.len(), numbers.len(), "a sample is there twice");
        unique
    }

    fn fail(&mut self, fault: Fault) -> bool {
        if fault == Fault::Away {
            self.0.terminate();
        }
        fault == Fault::Away
    }

    fn mend(&mut self) {
        self.0.start_again();
    }

    fn has_types(&self) -> bool {
        false
    }
}

/// VictoriaMetrics 1.150.0.
struct VictoriametricsSpeech;

impl Speech for VictoriametricsSpeech {
    const HAS_TYPES: bool = false;

    fn publisher(url: String) -> Box<dyn Publisher> {
        victoriametrics(url)
    }

    fn answer(stored: &mut Stored, request: &str) -> Reply {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        match stored.fault {
            Some(Fault::Away) => return Reply::Last(Vec::new()),
            Some(Fault::Throttled) => return answer("429 Too Many Requests", "Retry-After: 1\r\n", ""),
            Some(Fault::Small) if body.len() > 20_000 => {
                let big =
                    "cannot process influx line protocol data: too big data size exceeding -influx.maxRequestSize=20000 bytes";
                return answer("400 Bad Request", "", big);
            }
            Some(Fault::Wrong | Fault::Full) => {
                let full = "cannot store metrics: the storage is in read-only mode; check -storage.minFreeDiskSpaceBytes";
                return answer("503 Service Unavailable", "", full);
            }
            _ => {}
        }
        stored.numbers.extend(body.lines().filter(|line| !line.is_empty()).map(number_of));
        Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())
    }
}

/// InfluxDB 2, as a stand-in that answers as a real 2.9.1 did.
struct Influxdb2Destination {
    server: Influxdb2,
    fault: Option<Fault>,
}

const TOKEN: &str = "token";

fn influxdb_2(url: String) -> Box<dyn Publisher> {
    let v2 = InfluxdbV2 { org: "o1".to_owned(), bucket: "kadabra".to_owned(), token: Some(Secret::new(TOKEN)) };
    influxdb_with(url, InfluxdbApi::V2(v2))
}

fn influxdb_3(url: String, accept_partial: bool) -> Box<dyn Publisher> {
    let v3 = InfluxdbV3 { database: "kadabra".to_owned(), token: Some(Secret::new(TOKEN)), accept_partial, no_sync: false };
    influxdb_with(url, InfluxdbApi::V3(v3))
}

impl Destination for Influxdb2Destination {
    fn new() -> Self {
        Self { server: Influxdb2::start("o1", "kadabra", TOKEN), fault: None }
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        influxdb_2(self.server.url())
    }

    fn published(&self) -> BTreeSet<usize> {
        numbers_of(&self.server.points("kadabra"))
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.fault = Some(fault);
        match fault {
            Fault::Away => self.server.stop(),
            Fault::Throttled => self.server.fault(Some(ServerFault::cloud_throttles(503, Some(1)))),
            Fault::Full => self.server.fault(Some(ServerFault::v2_disk_is_full())),
            Fault::Wrong => self.server.delete_bucket("kadabra"),
            Fault::Small => self.fault = None,
        }
        self.fault.is_some()
    }

    fn mend(&mut self) {
        match self.fault.take() {
            Some(Fault::Away) => self.server.start_again(),
            Some(Fault::Wrong) => self.server.create_bucket("kadabra", Duration::ZERO),
            _ => self.server.fault(None),
        }
    }

    fn has_types(&self) -> bool {
        true
    }
}

/// InfluxDB 3, as a stand-in that answers as a real Core 3.6.0 did.
struct Influxdb3Destination {
    server: Influxdb3,
    fault: Option<Fault>,
}

impl Influxdb3Destination {
    fn publisher_with(&self, accept_partial: bool) -> Box<dyn Publisher> {
        influxdb_3(self.server.url(), accept_partial)
    }
}

impl Destination for Influxdb3Destination {
    fn new() -> Self {
        Self { server: Influxdb3::start(TOKEN), fault: None }
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        self.publisher_with(true)
    }

    fn published(&self) -> BTreeSet<usize> {
        numbers_of(&self.server.points("kadabra"))
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.fault = Some(fault);
        match fault {
            Fault::Away => self.server.stop(),
            Fault::Throttled => self.server.fault(Some(ServerFault::cloud_throttles(503, Some(1)))),
            Fault::Full => self.server.limits(Limits { databases: 0, tables: 2000, columns: 500, tags: 256 }),
            Fault::Wrong => self.server.remove_token(TOKEN),
            Fault::Small => self.fault = None,
        }
        self.fault.is_some()
    }

    fn mend(&mut self) {
        match self.fault.take() {
            Some(Fault::Away) => self.server.start_again(),
            Some(Fault::Wrong) => self.server.token(TOKEN, Right::Everything),
            Some(Fault::Full) => self.server.limits(Limits { databases: 5, tables: 2000, columns: 500, tags: 256 }),
            _ => self.server.fault(None),
        }
    }

    fn has_types(&self) -> bool {
        true
    }
}

/// The same where InfluxDB writes a request whole or not at all.
struct Influxdb3Whole(Influxdb3Destination);

impl Destination for Influxdb3Whole {
    fn new() -> Self {
        Self(Influxdb3Destination::new())
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        self.0.publisher_with(false)
    }

    fn published(&self) -> BTreeSet<usize> {
        self.0.published()
    }

    fn fail(&mut self, fault: Fault) -> bool {
        self.0.fail(fault)
    }

    fn mend(&mut self) {
        self.0.mend();
    }

    fn has_types(&self) -> bool {
        true
    }
}

fn numbers_of(points: &[Value]) -> BTreeSet<usize> {
    points.iter().map(|point| point["tags"]["number"].as_str().unwrap().parse().unwrap()).collect()
}

keeps_the_contract!(debug, super::Log);
keeps_the_contract!(victoriametrics, super::RealVictoriametrics);
keeps_the_contract!(victoriametrics_stand_in, super::StandInFor<super::VictoriametricsSpeech>);
keeps_the_contract!(influxdb_1, super::RealInfluxdb);
keeps_the_contract!(influxdb_1_stand_in, super::StandInFor<super::InfluxdbSpeech>);
keeps_the_contract!(influxdb_2, super::Influxdb2Destination);
keeps_the_contract!(influxdb_3, super::Influxdb3Destination);
keeps_the_contract!(influxdb_3_whole, super::Influxdb3Whole);
keeps_the_contract!(victoriametrics_gzip, super::Compressed<super::RealVictoriametrics>);
keeps_the_contract!(influxdb_1_gzip, super::Compressed<super::RealInfluxdb>);
keeps_the_contract!(influxdb_2_gzip, super::Compressed<super::Influxdb2Destination>);
keeps_the_contract!(influxdb_3_gzip, super::Compressed<super::Influxdb3Destination>);

#[actix_rt::test]
async fn what_takes_nothing_compressed_is_held_with_the_key_to_change_and_nothing_is_refused() {
    const OF_INFLUXDB: &str = "publisher.influxdb.gzip";
    // As a server answers that looks for lines in what is compressed.
    let unparsed = "unable to parse '\u{1f}\u{fffd}\u{8}': missing fields";
    let of_v2 = json!({ "code": "invalid", "message": unparsed }).to_string();
    let not_a_type = || answer("415 Unsupported Media Type", "", "");
    for (reply, publisher, key) in [
        (not_a_type(), influxdb as fn(String) -> Box<dyn Publisher>, OF_INFLUXDB),
        (answer("400 Bad Request", "", &json!({ "error": unparsed }).to_string()), influxdb, OF_INFLUXDB),
        (answer("400 Bad Request", "", "<html>nginx</html>"), influxdb, OF_INFLUXDB),
        (not_a_type(), influxdb_2, OF_INFLUXDB),
        (answer("400 Bad Request", "", &of_v2), influxdb_2, OF_INFLUXDB),
        (not_a_type(), |url| influxdb_3(url, true), OF_INFLUXDB),
        (not_a_type(), victoriametrics, "publisher.victoriametrics.gzip"),
    ] {
        let server = StandIn::start(vec![reply]);
        let mut publisher = compressing(|| publisher(server.url()));
        for numbers in [0..1, 0..300] {
            publisher.load(batch(numbers));
            // However often: it is not the points that are refused.
            for _ in 0..20 {
                let Outcome::Hold { mend, .. } = write(publisher.as_mut()).await else { panic!("it is not held") };
                assert!(mend.ends_with(&format!(", or set {key} = false if what is compressed is refused there")), "{mend}");
            }
        }
    }
}
