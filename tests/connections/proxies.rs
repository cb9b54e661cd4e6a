//! InfluxDB behind a real proxy: by the key, by the environment, and what is said of one that does not lead there.

use std::time::Duration;

use super::*;
use crate::support::{
    agent::Agent,
    names::with_hosts,
    process::{Process, command, wait_for},
};

const HOST: &str = "db.test";

/// A tinyproxy, whose log says what it has led where.
struct Proxy {
    _process: Process,
    folder: tempfile::TempDir,
    port: u16,
}

impl Proxy {
    /// With more lines of configuration.
    fn start(hosts: Option<&Path>, more: &str) -> Self {
        Self::start_at(free_port(), hosts, more)
    }

    fn start_at(port: u16, hosts: Option<&Path>, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("tinyproxy.log");
        let configuration = folder.path().join("tinyproxy.conf");
        let lines =
            format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Connect\nLogFile {log:?}\n{more}");
        fs::write(&configuration, lines).unwrap();
        let mut tinyproxy = hosts.map_or_else(|| command("tinyproxy"), |hosts| with_hosts(hosts, "tinyproxy"));
        tinyproxy.arg("-d").arg("-c").arg(&configuration);
        let process = Process::start("tinyproxy", tinyproxy, &folder.path().join("said"));
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
        wait_for("tinyproxy to listen; is it installed? Run tests/run", Duration::from_secs(20), listens);
        Self { _process: process, folder, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("tinyproxy.log")).unwrap()
    }

    /// The request lines that it has had.
    fn requests(&self, with: &str) -> usize {
        self.log().lines().filter(|line| line.contains("Request (file descriptor") && line.contains(with)).count()
    }
}

/// `kadabra check --online` of an InfluxDB, with more lines in its section and in the environment; what is said of the publisher.
pub(super) fn check(influxdb: &str, lines: &str, hosts: Option<&Path>, environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    let config = config("redis://127.0.0.1:1/0", influxdb);
    fs::write(&file, config.replace("[publisher.influxdb]", &format!("[publisher.influxdb]\ncreate_database = true\n{lines}")))
        .unwrap();
    let mut check = hosts.map_or_else(kadabra, crate::support::agent::kadabra_with_hosts);
    check.envs(environment.iter().copied()).args(["check", "--online", "--config"]).arg(&file);
    let (_, checked) = said(check);
    assert!(!checked.contains("hunter2"), "{checked}");
    let begins =
        |line: &&str| line.starts_with("ok: publisher") || line.starts_with("wrong: publisher") || line.contains("proxy =");
    checked.lines().find(begins).unwrap_or_else(|| panic!("nothing of the publisher: {checked}")).to_owned()
}

pub(super) fn by_key(proxy: &str) -> String {
    format!("proxy = {proxy:?}\n")
}

/// With the database that is written to. Without it InfluxDB answers before it has read a request's body, and closes: a proxy that still
/// sends the body may be cut off, and pass no answer on.
pub(super) fn with_database(influxd: Influxd) -> Influxd {
    influxd.create_database(DATABASE);
    influxd
}

pub(super) fn influxd_of_tls(folder: &Path) -> (Influxd, Certificate) {
    let certificate = Certificate::self_signed(folder, "server", &["subjectAltName=DNS:localhost,DNS:db.test,IP:127.0.0.1"]);
    (Influxd::start_with(Options { certificate: Some(certificate.clone()), ..Options::default() }), certificate)
}

#[test]
fn points_reach_influxdb_through_a_proxy_whether_it_speaks_http_or_https() {
    let folder = tempfile::tempdir().unwrap();
    let (secure, certificate) = influxd_of_tls(folder.path());
    let pipeline = Pipeline::start();
    for login in ["", "BasicAuth me hunter2\n"] {
        let proxy = Proxy::start(None, login);
        let url = if login.is_empty() { proxy.url() } else { proxy.url().replace("://", "://me:hunter2@") };
        let said = check(&pipeline.influxd.url(), &by_key(&url), None, &[]);
        assert!(said.starts_with("ok: ") && said.contains(&format!("through the proxy {}", proxy.url())), "{said}");
        assert!(proxy.requests(&format!("POST {}/write?db=", pipeline.influxd.url())) > 0, "{}", proxy.log());

        // It leads no further than to the server, whose certificate counts.
        let trusted = format!("{}ca_file = {:?}\n", by_key(&url), certificate.certificate);
        let said = check(&secure.url(), &trusted, None, &[]);
        assert!(said.starts_with("ok: ") && said.contains("through the proxy"), "{said}");
        assert!(proxy.requests(&format!("CONNECT 127.0.0.1:{}", secure.port())) > 0, "{}", proxy.log());
        let said = check(&secure.url(), &by_key(&url), None, &[]);
        assert!(said.contains("cannot connect: its certificate is an authority's"), "{said}");
    }
}

#[test]
fn an_agent_delivers_through_a_proxy_and_waits_for_it_without_setting_anything_aside() {
    let pipeline = Pipeline::start();
    let port = free_port();
    let proxy = Proxy::start_at(port, None, "");
    let config = config(&pipeline.redis.url(), &pipeline.influxd.url());
    let config = config.replace("[publisher.influxdb]", &format!("[publisher.influxdb]\n{}", by_key(&proxy.url())));
    let mut agent = Agent::start(&config);
    pipeline.push_numbers(0..100);
    pipeline.assert_all_written(0..100);
    assert!(proxy.requests("POST http://") > 0, "{}", proxy.log());

    // Away, refusing, and with a login that is wanted.
    drop(proxy);
    pipeline.push_numbers(100..110);
    let refused = agent.wait_condition("publisher").to_string();
    assert!(refused.contains(&format!("the proxy http://127.0.0.1:{port}: ")), "{refused}");
    for (more, sentence) in
        [("Allow 10.1.2.3\n", "does not let us through to"), ("BasicAuth me hunter2\n", "wants a user and a password: 407")]
    {
        let proxy = Proxy::start_at(port, None, more);
        wait_for(sentence, PATIENCE, || agent.log_text().contains(sentence).then_some(()));
        drop(proxy);
    }
    let _proxy = Proxy::start_at(port, None, "");
    pipeline.assert_all_written(0..110);
    assert!(pipeline.dead_letters().is_empty());
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_proxy_that_does_not_lead_there_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (secure, _) = influxd_of_tls(folder.path());
    let plain = with_database(Influxd::start());
    let filter = folder.path().join("filter");
    fs::write(&filter, "127.0.0.1\n").unwrap();
    let away = format!("http://127.0.0.1:{}", free_port());
    let open = Proxy::start(None, "");
    let locked = Proxy::start(None, "BasicAuth me hunter2\n");
    let strict = Proxy::start(None, "ConnectPort 443\n");
    let filtering = Proxy::start(None, &format!("Filter {filter:?}\n"));
    let wrong = locked.url().replace("://", "://me:wrong@");
    let nobody = ["http", "https"].map(|scheme| format!("{scheme}://127.0.0.1:{}", free_port()));
    let (plain, secure) = (plain.url(), secure.url());
    for (influxdb, proxy, what, mend) in [
        (
            &plain,
            &away,
            "Connection refused",
            "check that the proxy is running there, and the host and port in publisher.influxdb.proxy",
        ),
        (
            &secure,
            &away,
            "Connection refused",
            "check that the proxy is running there, and the host and port in publisher.influxdb.proxy",
        ),
        (&plain, &locked.url(), "wants a user and a password: 407", "write them into publisher.influxdb.proxy"),
        (&secure, &locked.url(), "wants a user and a password: 407", "write them into publisher.influxdb.proxy"),
        (
            &plain,
            &wrong,
            "does not accept the user or the password",
            "correct the user and the password in publisher.influxdb.proxy",
        ),
        (
            &secure,
            &wrong,
            "does not accept the user or the password",
            "correct the user and the password in publisher.influxdb.proxy",
        ),
        (&secure, &strict.url(), "does not let us through to 127.0.0.1:", "tinyproxy: ConnectPort"),
        (&plain, &filtering.url(), "does not let us through to 127.0.0.1:", "clear it there"),
        (&nobody[0], &open.url(), "does not reach 127.0.0.1:", "that the proxy reaches it"),
        (&nobody[1], &open.url(), "does not reach 127.0.0.1:", "that the proxy reaches it"),
        (&secure, &plain, "does not", "clear it there"),
    ] {
        let said = check(influxdb, &by_key(proxy), None, &[]);
        assert!(said.starts_with("wrong: ") && said.contains(what) && said.contains(mend), "{what}, {mend} in: {said}");
        assert!(said.contains("the proxy http://127.0.0.1:"), "{said}");
    }
}

#[test]
fn the_environment_says_which_proxy_unless_the_server_is_excepted_or_the_key_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = hosts(&folder, HOST, &["127.0.0.1"]);
    let influxd = with_database(Influxd::start());
    let proxy = Proxy::start(Some(&hosts), "");
    let influxdb = format!("http://{HOST}:{}", influxd.port());
    let url = proxy.url();
    let here = url.trim_start_matches("http://");
    let none = by_key("");
    for (environment, lines, through) in [
        (&[("http_proxy", url.as_str())][..], "", Some("http_proxy")),
        (&[("HTTP_PROXY", &url)], "", Some("HTTP_PROXY")),
        (&[("ALL_PROXY", here)], "", Some("ALL_PROXY")),
        (&[("HTTP_PROXY", &url), ("REQUEST_METHOD", "GET")], "", None),
        (&[("https_proxy", &url)], "", None),
        (&[("http_proxy", &url), ("no_proxy", "other.test,.test")], "", None),
        (&[("http_proxy", &url), ("NO_PROXY", "*")], "", None),
        (&[("http_proxy", &url)], &none, None),
    ] {
        let before = proxy.requests("POST http://");
        let said = check(&influxdb, lines, Some(&hosts), environment);
        assert!(said.starts_with("ok: "), "{environment:?}: {said}\n{}", proxy.log());
        assert_eq!(proxy.requests("POST http://") > before, through.is_some(), "{environment:?}: {}", proxy.log());
        let named = through.map(|name| format!("through the proxy {url} ({name})"));
        assert!(named.as_ref().is_none_or(|named| said.contains(named)), "{said}");
        assert_eq!(said.contains("through the proxy"), named.is_some(), "{said}");
    }
    // This machine is reached without one.
    let said = check(&influxd.url(), "", None, &[("http_proxy", "http://127.0.0.1:1")]);
    assert!(said.starts_with("ok: "), "{said}");
    let said = check(&influxdb, "", Some(&hosts), &[("ALL_PROXY", "socks5://me:hunter2@127.0.0.1")]);
    assert!(said.contains("ALL_PROXY: publisher.influxdb.proxy = ") && said.contains("socks5 is not spoken"), "{said}");
}
