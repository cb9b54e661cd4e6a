//! A real influxd, on free ports, in a folder of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{
    certificates::Certificate,
    process::{Process, command, free_port, wait_for},
};

const START: Duration = Duration::from_secs(20);

/// How an influxd differs from the default one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The name and password of the administrator whom it asks for.
    pub(crate) admin: Option<(&'static str, &'static str)>,
    /// The largest body that it takes, in bytes.
    pub(crate) max_body_size: Option<usize>,
    /// More lines of the section `[data]`.
    pub(crate) data: String,
    /// Whether it speaks https, with a certificate that nobody trusts yet.
    pub(crate) https: bool,
    /// The certificate that it speaks https with, rather than one of its own.
    pub(crate) certificate: Option<Certificate>,
    /// The address that it listens on, rather than 127.0.0.1; as in a URL.
    pub(crate) host: Option<&'static str>,
}

/// A running influxd; ends with its value.
#[derive(Debug)]
pub(crate) struct Influxd {
    folder: TempDir,
    port: u16,
    options: Options,
    process: Option<Process>,
}

impl Influxd {
    /// One with the default options.
    pub(crate) fn start() -> Self {
        Self::start_with(Options::default())
    }

    pub(crate) fn start_with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut influxd = Self { folder, port: free_port(), options, process: None };
        influxd.write_configuration();
        influxd.start_again();
        if let Some((name, password)) = influxd.options.admin {
            influxd.create_admin(name, password);
        }
        influxd
    }

    pub(crate) fn create_admin(&self, name: &str, password: &str) {
        self.execute(&format!("CREATE USER {} WITH PASSWORD '{password}' WITH ALL PRIVILEGES", quoted(name)));
    }

    /// Starts it after [`Self::stop`], on the same ports and data.
    pub(crate) fn start_again(&mut self) {
        self.process = Some(self.run());
    }

    /// Asks for this administrator, whom it knows already, or for nobody, once it is started again.
    pub(crate) fn ask_for(&mut self, admin: Option<(&'static str, &'static str)>) {
        self.options.admin = admin;
        self.write_configuration();
    }

    /// Has these lines in the section `[data]` once it is started again.
    pub(crate) fn configure_data(&mut self, data: &str) {
        data.clone_into(&mut self.options.data);
        self.write_configuration();
    }

    fn write_configuration(&self) {
        let (folder, options, rpc) = (self.folder.path(), &self.options, free_port());
        let config = [
            format!("reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n"),
            format!("[meta]\ndir = {:?}\n", folder.join("meta")),
            format!("[data]\ndir = {:?}\nwal-dir = {:?}\n", folder.join("data"), folder.join("wal")),
            format!("{}\n", options.data),
            format!("[http]\nbind-address = \"{}:{}\"\n", self.host(), self.port),
            format!("log-enabled = false\nauth-enabled = {}\n", options.admin.is_some()),
            options.max_body_size.map(|size| format!("max-body-size = {size}\n")).unwrap_or_default(),
            match &options.certificate {
                Some(Certificate { certificate, key }) => https(certificate, key),
                None if options.https => https_of_its_own(folder),
                None => String::new(),
            },
            "[monitor]\nstore-enabled = false\n".to_owned(),
        ];
        fs::write(folder.join("influxdb.conf"), config.concat()).unwrap();
    }

    /// Runs it until it listens.
    fn run(&self) -> Process {
        let log = || fs::read_to_string(self.log()).unwrap_or_default();
        let before = log().len();
        let mut influxd = command("influxd");
        influxd.arg("-config").arg(self.folder.path().join("influxdb.conf"));
        let mut process = Process::start("influxd", influxd, &self.log());
        wait_for("influxd to listen", START, || {
            let ended = process.ended();
            let log = log().split_off(before);
            if let Some(status) = ended {
                panic!("influxd ended at its start ({status}); is it installed? Run tests/run. Its log: {log}");
            }
            log.contains("Listening for signals").then_some(())
        });
        process
    }

    /// Ends it as an operator would, and waits for that.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("influxd runs");
        process.signal("TERM");
        process.wait(START);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("influxd runs").kill();
    }

    /// Lets it take connections and say nothing, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("influxd runs").signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("influxd runs").signal("CONT");
    }

    /// Of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("influxd runs").id()
    }

    pub(crate) fn url(&self) -> String {
        let Options { https, certificate, .. } = &self.options;
        format!("{}://{}:{}", if *https || certificate.is_some() { "https" } else { "http" }, self.host(), self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn host(&self) -> &'static str {
        self.options.host.unwrap_or("127.0.0.1")
    }

    /// The certificate that it speaks https with.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("influxd.log")
    }

    /// What InfluxDB answers to a query; times in ns. Panics when it says that it is wrong.
    pub(crate) fn query(&self, database: &str, query: &str) -> Value {
        let mut request = ureq::post(self.url() + "/query");
        if let Some((name, password)) = self.options.admin {
            request = request.query("u", name).query("p", password);
        }
        // In a form, since a name may be longer than a URL.
        let answer = request.send_form([("db", database), ("q", query), ("epoch", "ns")]);
        let mut answer = answer.unwrap_or_else(|error| panic!("{query}: {error}"));
        let answer = answer.body_mut().with_config().limit(1 << 30).read_to_string();
        let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
        assert!(answer["error"].is_null() && answer["results"][0]["error"].is_null(), "{query}: {answer}");
        answer
    }

    /// Executes a statement that is not about one database.
    pub(crate) fn execute(&self, statement: &str) {
        self.query("", statement);
    }

    pub(crate) fn create_database(&self, name: &str) {
        self.execute(&format!("CREATE DATABASE {}", quoted(name)));
    }

    pub(crate) fn drop_database(&self, name: &str) {
        self.execute(&format!("DROP DATABASE {}", quoted(name)));
    }

    /// How many points of a measurement have a `value`.
    pub(crate) fn count(&self, database: &str, measurement: &str) -> u64 {
        let answer = self.query(database, &format!("SELECT count(value) FROM {}", quoted(measurement)));
        answer["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0)
    }

    /// Every point of the default retention policy as `{"measurement", "tags", "fields", "time"}`, sorted by its text.
    pub(crate) fn points(&self, database: &str) -> Vec<Value> {
        let names = self.query(database, "SHOW MEASUREMENTS");
        let names = names["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
        let mut points = Vec::new();
        // One query for each: InfluxDB leaves out fields that have another type in another measurement.
        for name in names.iter().map(|name| name[0].as_str().unwrap()) {
            let answer = self.query(database, &format!("SELECT * FROM {} GROUP BY *", quoted(name)));
            for series in answer["results"][0]["series"].as_array().cloned().unwrap_or_default() {
                points.extend(points_of(name, &series));
            }
        }
        points.sort_by_cached_key(Value::to_string);
        points
    }
}

/// Makes a certificate in a folder, and the configuration that speaks https with it.
fn https_of_its_own(folder: &Path) -> String {
    let extensions = ["basicConstraints=critical,CA:FALSE", "subjectAltName=IP:127.0.0.1"];
    let Certificate { certificate, key } = Certificate::self_signed(folder, "cert", &extensions);
    https(&certificate, &key)
}

fn https(certificate: &Path, key: &Path) -> String {
    format!("https-enabled = true\nhttps-certificate = {certificate:?}\nhttps-private-key = {key:?}\n")
}
fn points_of(measurement: &str, series: &Value) -> Vec<Value> {
    let tags: BTreeMap<String, String> = serde_json::from_value(series["tags"].clone()).unwrap_or_default();
    let tags: BTreeMap<String, String> = tags.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let columns: Vec<String> = serde_json::from_value(series["columns"].clone()).unwrap();
    let rows = series["values"].as_array().unwrap().iter();
    rows.filter_map(|row| {
        let mut fields: Map<String, Value> =
            columns.iter().cloned().zip(row.as_array().unwrap().iter().cloned()).filter(|(_, value)| !value.is_null()).collect();
        let time = fields.remove("time").unwrap();
        // InfluxDB may show a point that is being written with its time alone; there is none without a field.
        (!fields.is_empty()).then(|| json!({ "measurement": measurement, "tags": tags, "fields": fields, "time": time }))
    })
    .collect()
}

/// A name as an identifier of InfluxQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
