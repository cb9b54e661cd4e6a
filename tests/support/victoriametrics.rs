//! A real VictoriaMetrics (Debian's victoria-metrics), on a free port, in a folder of its own, that ends with its test.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    http_server::{Response, ask},
    process::{Process, command, free_port, wait_for},
};

const START: Duration = Duration::from_secs(20);

/// A time in seconds, later than any that is written.
const END: &str = "9000000000";

/// A running VictoriaMetrics.
pub(crate) struct VictoriaMetrics {
    folder: TempDir,
    port: u16,
    flags: Vec<String>,
    login: Option<(&'static str, &'static str)>,
    process: Option<Process>,
}

impl VictoriaMetrics {
    /// One with its defaults, but that it keeps what is written for 100 years.
    pub(crate) fn start() -> Self {
        Self::with(&["-retentionPeriod=100y"])
    }

    /// One with these flags, such as `-dedup.minScrapeInterval=1ms`.
    pub(crate) fn with(flags: &[&str]) -> Self {
        Self::launch(flags, None)
    }

    /// One that wants a name and a password.
    pub(crate) fn with_login(name: &'static str, password: &'static str) -> Self {
        Self::launch(&["-retentionPeriod=100y"], Some((name, password)))
    }

    fn launch(flags: &[&str], login: Option<(&'static str, &'static str)>) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { folder, port: free_port(), flags, login, process: None };
        server.start_again();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end, which makes it write what it has in memory, and waits for the end.
    pub(crate) fn terminate(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("TERM");
            process.wait(START);
        }
    }

    /// Lets it take connections and say nothing, until [`Self::resume`].
    pub(crate) fn pause(&self) {
        self.process.as_ref().expect("VictoriaMetrics runs").signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.as_ref().expect("VictoriaMetrics runs").signal("CONT");
    }

    /// Starts it on the same port and data after [`Self::kill`] or [`Self::terminate`].
    pub(crate) fn start_again(&mut self) {
        self.process = Some(self.run());
    }

    /// Posts lines to a path that takes them, with the login if it wants one.
    pub(crate) fn write(&self, target: &str, lines: &str) -> Response {
        self.ask("POST", target, lines.as_bytes())
    }

    pub(crate) fn ask(&self, method: &str, target: &str, body: &[u8]) -> Response {
        let login = self.login.map(|(name, password)| basic(name, password));
        let headers: Vec<_> = login.iter().map(|login| ("Authorization", login.as_str())).collect();
        ask(&self.url(), method, target, &headers, body).unwrap()
    }

    /// Every sample whose series matches a selector such as `{__name__=~"m_.*"}`, as `{"metric", "value", "time"}` with the time in
    /// milliseconds, sorted by its text.
    pub(crate) fn samples(&self, selector: &str) -> Vec<Value> {
        // What was written a moment ago is shown after this.
        assert_eq!(self.ask("GET", "/internal/force_flush", b"").status, 200);
        // Without an end it leaves out what is of the present second.
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("match[]", selector)
            .append_pair("end", END)
            .finish();
        let answer = self.ask("GET", &format!("/api/v1/export?{query}"), b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut samples = Vec::new();
        for series in answer.body.lines() {
            let series: Value = serde_json::from_str(series).unwrap();
            let (values, times) = (series["values"].as_array().unwrap(), series["timestamps"].as_array().unwrap());
            let metric = &series["metric"];
            samples
                .extend(values.iter().zip(times).map(|(value, time)| json!({ "metric": metric, "value": value, "time": time })));
        }
        samples.sort_by_cached_key(Value::to_string);
        samples
    }

    /// The result of a query of PromQL at a time in seconds.
    pub(crate) fn query(&self, query: &str, time: i64) -> Vec<Value> {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .append_pair("time", &time.to_string())
            .finish();
        let answer = self.ask("GET", &format!("/api/v1/query?{query}"), b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    }

    fn run(&self) -> Process {
        let mut command = command("victoria-metrics");
        command.arg(format!("-storageDataPath={}", self.folder.path().join("data").display()));
        command.arg(format!("-httpListenAddr=127.0.0.1:{}", self.port)).args(&self.flags);
        if let Some((name, password)) = self.login {
            command.arg(format!("-httpAuth.username={name}")).arg(format!("-httpAuth.password={password}"));
        }
        let mut process = Process::start("victoria-metrics", command, &self.log());
        wait_for("VictoriaMetrics to answer", START, || {
            let ended = process.ended();
            assert!(ended.is_none(), "VictoriaMetrics ended at its start, see {}", self.log().display());
            std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        process
    }
}

/// The header of a login.
pub(crate) fn basic(name: &str, password: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// A running vmauth, of the same package, which lets the user `me` with the password `right-password` and the token `right-token` through to a
/// server.
pub(crate) struct Vmauth {
    _folder: TempDir,
    _process: Process,
    port: u16,
}

impl Vmauth {
    pub(crate) fn start(to: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, file) = (free_port(), folder.path().join("auth.yml"));
        let users = format!(
            "users:\n- username: me\n  password: right-password\n  url_prefix: {to}\n- bearer_token: right-token\n  url_prefix: {to}\n"
        );
        std::fs::write(&file, users).unwrap();
        let mut vmauth = command("vmauth");
        vmauth.arg(format!("-auth.config={}", file.display())).arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        let process = Process::start("vmauth", vmauth, &folder.path().join("log"));
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
        wait_for("vmauth to listen; is it installed? Run tests/run", START, listens);
        Self { _folder: folder, _process: process, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
