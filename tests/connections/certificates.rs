//! Certificates of one's own: whom the agent trusts, what it shows, and which name it asks for; and what happens when they change.

use super::*;
use crate::support::{
    agent::Agent,
    process::{Process, command, wait_for},
};

const HERE: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";

/// A configuration of an agent between these, with more lines in their sections.
fn config_with(redis: (&str, &str), influxdb: (&str, &str)) -> String {
    let config = config(redis.0, influxdb.0);
    let config = config.replace("[channel.redis]", &format!("[channel.redis]\n{}", redis.1));
    config.replace("[publisher.influxdb]", &format!("[publisher.influxdb]\ncreate_database = true\n{}", influxdb.1))
}

/// `kadabra check --online` with this configuration, where the system trusts this and nothing else.
fn check(folder: &Path, config: &str, trusted: &Path) -> (Option<i32>, String) {
    let file = folder.join("kadabra.toml");
    fs::write(&file, config).unwrap();
    let mut check = kadabra();
    check.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").args(["check", "--online", "--config"]).arg(&file);
    said(check)
}

/// A Redis that speaks TLS with this certificate, and its URL with that host. It wants a certificate that the authority has issued of
/// its clients, if one is given.
pub(super) fn redis_with(certificate: &Certificate, clients: Option<&Certificate>, more: &[&str]) -> (RedisServer, String) {
    let port = free_port().to_string();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key) = (path(&certificate.certificate), path(&certificate.key));
    let authority = path(&clients.unwrap_or(certificate).certificate);
    let tls = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let wants = ["--tls-auth-clients", if clients.is_some() { "yes" } else { "no" }];
    (RedisServer::with(&[&tls[..], &wants, more].concat()), format!("rediss://localhost:{port}/0"))
}

fn influxd_with(certificate: &Certificate) -> Influxd {
    Influxd::start_with(Options { certificate: Some(certificate.clone()), ..Options::default() })
}

/// The keys by which a section shows this certificate.
fn shown(Certificate { certificate, key }: &Certificate) -> String {
    format!("client_certificate = {certificate:?}\nclient_key = {key:?}\n")
}

/// What is said of the one and of the other.
fn lines(checked: &str) -> [&str; 2] {
    ["channel", "publisher"].map(|part| {
        let begins = |line: &&str| line.starts_with(&format!("ok: {part}")) || line.starts_with(&format!("wrong: {part}"));
        checked.lines().find(begins).unwrap_or_else(|| panic!("nothing of the {part}: {checked}"))
    })
}

#[test]
fn a_file_of_authorities_counts_in_place_of_those_of_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [ours, others] = ["ours", "others"].map(|name| Certificate::self_signed(folder, name, &[]));
    let server = ours.issue(folder, "server", None, &[HERE]);
    let (_redis, redis) = redis_with(&server, None, &[]);
    let influxd = influxd_with(&server);
    let influxdb = format!("https://localhost:{}", influxd.port());
    let names = |authority: &Certificate| format!("ca_file = {:?}\n", authority.certificate);
    for (named, trusted, works) in [(&ours, &others, true), (&others, &ours, false)] {
        let (code, checked) =
            check(folder, &config_with((&redis, &names(named)), (&influxdb, &names(named))), &trusted.certificate);
        assert_eq!(code, Some(if works { 0 } else { 69 }), "{checked}");
        for (line, section) in lines(&checked).into_iter().zip(["channel.redis", "publisher.influxdb"]) {
            assert_eq!(line.starts_with("ok"), works, "{line}");
            let file = named.certificate.display();
            let why = format!("its certificate was issued by nobody whom the file {file} trusts");
            let mend = format!("into {file}, which {section}.ca_file names");
            assert!(works || (line.contains(&why) && line.contains(&mend)), "{line}");
        }
    }
    // The server's own certificate, as openssl makes it, is as good as that of its authority.
    let own = Certificate::self_signed(folder, "own", &[HERE]);
    let (_redis, redis) = redis_with(&own, None, &[]);
    let influxd = influxd_with(&own);
    let influxdb = format!("https://localhost:{}", influxd.port());
    let (code, checked) = check(folder, &config_with((&redis, &names(&own)), (&influxdb, &names(&own))), &others.certificate);
    assert_eq!(code, Some(0), "{checked}");
}

#[test]
fn a_certificate_of_a_file_of_ones_own_that_is_not_right_is_refused_and_a_servers_name_may_be_another() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Certificate::self_signed(folder, "authority", &[]);
    let elsewhere = authority.issue(folder, "elsewhere", None, &["subjectAltName=DNS:db.example.com,IP:10.1.2.3"]);
    let expired = authority.issue(folder, "expired", Some("2020-01-01 00:00:00"), &[HERE]);
    for (server, name, wrong, mend) in [
        (&elsewhere, "", "is for db.example.com, 10.1.2.3, not for localhost", "server_name"),
        (&elsewhere, "db.example.org", "is for db.example.com, 10.1.2.3, not for db.example.org", ".server_name, or make"),
        (&elsewhere, "db.example.com", "", ""),
        (&elsewhere, "10.1.2.3", "", ""),
        (&expired, "", "has expired, at 2020-01-03T00:00:0", "renew it there"),
    ] {
        let (_redis, redis) = redis_with(server, None, &[]);
        let influxd = influxd_with(server);
        let mut keys = format!("ca_file = {:?}\n", authority.certificate);
        if !name.is_empty() {
            keys = [&keys, &format!("server_name = {name:?}\n")[..]].concat();
        }
        let influxdb = format!("https://localhost:{}", influxd.port());
        let (code, checked) = check(folder, &config_with((&redis, &keys), (&influxdb, &keys)), Path::new("/nonexistent"));
        assert_eq!(code, Some(if wrong.is_empty() { 0 } else { 69 }), "{checked}");
        for line in lines(&checked) {
            assert!(line.contains(wrong) && line.contains(mend), "{wrong}, {mend} in: {line}");
        }
    }
}

/// What speaks TLS for an InfluxDB, and wants a certificate of its clients that this authority has issued.
fn guard(influxd: &Influxd, port: u16, folder: &Path, server: &Certificate, clients: &Certificate) -> (Process, String) {
    let mut socat = command("socat");
    let (cert, key, authority) = (server.certificate.display(), server.key.display(), clients.certificate.display());
    socat.arg(format!("OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,cert={cert},key={key},cafile={authority},verify=1"));
    socat.arg(format!("TCP:127.0.0.1:{}", influxd.port()));
    let process = Process::start("socat", socat, &folder.join("socat.log"));
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop);
    wait_for("socat to listen", std::time::Duration::from_secs(20), listens);
    (process, format!("https://localhost:{port}"))
}

#[test]
fn a_server_that_wants_a_certificate_of_its_clients_gets_it_or_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [authority, others] = ["authority", "others"].map(|name| Certificate::self_signed(folder, name, &[]));
    let server = authority.issue(folder, "server", None, &[HERE]);
    let right = authority.issue(folder, "right", None, &[]);
    let foreign = others.issue(folder, "foreign", None, &[]);
    let expired = authority.issue(folder, "expired", Some("2020-01-01 00:00:00"), &[]);
    let influxd = Influxd::start();
    let (_guard, influxdb) = guard(&influxd, free_port(), folder, &server, &authority);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let (_redis, redis) = redis_with(&server, Some(&authority), &["--tls-protocols", version]);
        for certificate in [None, Some(&right), Some(&foreign), Some(&expired)] {
            let mut keys = format!("ca_file = {:?}\n", authority.certificate);
            keys.extend(certificate.map(shown));
            let (code, checked) = check(folder, &config_with((&redis, &keys), (&influxdb, &keys)), Path::new("/nonexistent"));
            let works = certificate.is_some_and(|shown| shown.certificate == right.certificate);
            assert_eq!(code, Some(if works { 0 } else { 69 }), "{version} {certificate:?}: {checked}");
            for (line, section) in lines(&checked).into_iter().zip(["channel.redis", "publisher.influxdb"]) {
                let explained = line.contains("received fatal alert") && line.contains(&format!("{section}.client_certificate"));
                assert!(works || explained, "{version} {certificate:?}: {line}");
            }
        }
    }
}

#[test]
fn certificates_that_change_are_used_without_a_restart_and_broken_ones_leave_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [old, new] = ["old", "new"].map(|name| Certificate::self_signed(folder, name, &[]));
    let [before, after] =
        [(&old, "before"), (&new, "after")].map(|(authority, name)| authority.issue(folder, name, None, &[HERE]));
    let [shown_before, shown_after] =
        [(&old, "shown-before"), (&new, "shown-after")].map(|(authority, name)| authority.issue(folder, name, None, &[]));
    let server = Certificate { certificate: folder.join("server.pem"), key: folder.join("server.key") };
    let client = Certificate { certificate: folder.join("client.pem"), key: folder.join("client.key") };
    let trusted = folder.join("trusted.pem");
    let put = |from: &Certificate, to: &Certificate| {
        fs::copy(&from.certificate, &to.certificate).unwrap();
        fs::copy(&from.key, &to.key).unwrap();
    };
    put(&before, &server);
    put(&shown_before, &client);
    fs::copy(&old.certificate, &trusted).unwrap();

    let (redis, url) = redis_with(&server, Some(&old), &[]);
    let mut pipeline = Pipeline { redis, influxd: Influxd::start() };
    pipeline.influxd.create_database(DATABASE);
    let keys = format!("ca_file = {trusted:?}\n{}", shown(&client));
    let port = free_port();
    let (guarding, influxdb) = guard(&pipeline.influxd, port, folder, &server, &old);
    let mut agent = Agent::start(&config_with((&url, &keys), (&influxdb, &keys)));
    let delivered = |pipeline: &Pipeline, number: u32| {
        pipeline.push_numbers(number.into()..u64::from(number) + 1);
        wait_for("the message to be written", PATIENCE, || (pipeline.written() == number as usize + 1).then_some(()));
    };
    agent.wait_log("publishing");
    delivered(&pipeline, 0);

    // Files that are of no use leave what there was, and each is said once.
    fs::write(&trusted, "").unwrap();
    fs::write(&client.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    drop(guarding);
    // Connections that it had made last until the server behind it ends them.
    pipeline.influxd.stop();
    let (guarding, _) = guard(&pipeline.influxd, port, folder, &server, &old);
    pipeline.influxd.start_again();
    pipeline.redis.restart();
    delivered(&pipeline, 1);
    // Once for each section. The log is written by a thread of its own.
    agent.wait_log_count("a client certificate with its key is of no use any more", 2);
    assert_eq!(agent.logged("a file of certificates is of no use any more").len(), 2);
    assert_eq!(agent.logged("a client certificate with its key is of no use any more").len(), 2);

    // The servers have certificates of another authority, and the files follow later.
    put(&after, &server);
    drop(guarding);
    pipeline.influxd.stop();
    let (_guarding, _) = guard(&pipeline.influxd, port, folder, &server, &new);
    pipeline.influxd.start_again();
    pipeline.push_numbers(2..3);
    agent.wait_log("its certificate was issued by nobody whom the file");
    fs::copy(&new.certificate, &trusted).unwrap();
    put(&shown_after, &client);
    wait_for("the message to be written", PATIENCE, || (pipeline.written() == 3).then_some(()));
    let ask = |words: &[&str]| {
        let (command, arguments) = words.split_first().unwrap();
        let _: () = redis::cmd(command).arg(arguments).query(&mut pipeline.redis.connection()).unwrap();
    };
    ask(&["CONFIG", "SET", "tls-ca-cert-file", new.certificate.to_str().unwrap()]);
    ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    delivered(&pipeline, 3);
    agent.wait_log("a file of certificates has changed and was read again");
    agent.wait_log("a client certificate with its key has changed and was read again");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

#[test]
fn a_configuration_with_files_that_are_of_no_use_is_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [own, other] = ["own", "other"].map(|name| Certificate::self_signed(folder, name, &[HERE]));
    let encrypted = folder.join("encrypted.key");
    let (from, to) = (own.key.to_str().unwrap(), encrypted.to_str().unwrap());
    crate::support::certificates::openssl(folder, None, &["pkey", "-aes256", "-passout", "pass:x", "-in", from, "-out", to]);
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (empty, text) = (file("empty.pem", ""), file("text.pem", "hunter2\n"));
    let half = file("half.pem", "-----BEGIN CERTIFICATE-----\nhunter2\n");
    let junk = file("junk.pem", "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n");
    let missing = folder.join("missing.pem");
    let configuration = folder.join("kadabra.toml");
    let pair = |certificate: &Path, key: &Path| shown(&Certificate { certificate: certificate.into(), key: key.into() });
    for (lines, line, sentence) in [
        (format!("ca_file = {missing:?}"), 4, "cannot be read: No such file or directory"),
        (format!("ca_file = {folder:?}"), 4, "cannot be read: Is a directory"),
        (format!("ca_file = {empty:?}"), 4, "there is no certificate in it"),
        (format!("ca_file = {text:?}"), 4, "there is no certificate in it"),
        (format!("ca_file = {half:?}"), 4, "expected PEM, as openssl writes it"),
        (format!("ca_file = {junk:?}"), 4, "no certificate in it can be used"),
        (format!("ca_file = {:?}", own.key), 4, "there is no certificate in it"),
        (pair(&missing, &own.key), 4, "cannot be read: No such file or directory"),
        (pair(&own.certificate, &missing), 5, "cannot be read: No such file or directory"),
        (pair(&own.certificate, &text), 5, "there is no private key in it"),
        (pair(&own.certificate, &own.certificate), 5, "there is no private key in it"),
        (pair(&own.certificate, &encrypted), 5, "the key in it is encrypted"),
        (pair(&own.certificate, &other.key), 5, "the key does not belong to the first certificate in"),
    ] {
        let text = format!("[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\n{lines}\nurl = \"https://localhost\"\n");
        fs::write(&configuration, text).unwrap();
        let mut check = kadabra();
        check.args(["check", "--config"]).arg(&configuration);
        let (code, checked) = said(check);
        assert_eq!(code, Some(78), "{lines}: {checked}");
        let place = format!("{}, line {line}: publisher.influxdb.", configuration.display());
        assert!(checked.contains(&place) && checked.contains(sentence), "{sentence} in: {checked}");
        assert!(!checked.contains("hunter2"), "{checked}");
    }
}
