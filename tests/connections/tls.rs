//! Certificates: which are accepted, and what is said of the others.

use super::*;

const HERE: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";

/// `kadabra check --online` of these URLs, where the system trusts this and nothing else.
fn check(folder: &Path, redis: &str, influxdb: &str, trusted: &Path) -> (Option<i32>, String) {
    let file = folder.join("kadabra.toml");
    fs::write(&file, config(redis, influxdb)).unwrap();
    let mut check = kadabra();
    check.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").args(["check", "--online", "--config"]).arg(&file);
    said(check)
}

/// A Redis that speaks TLS with this certificate on both loopback addresses, and the port.
fn redis_with(certificate: &Certificate) -> (RedisServer, u16) {
    let port = free_port();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key) = (path(&certificate.certificate), path(&certificate.key));
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let others = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no", "--bind", "127.0.0.1", "::1"];
    (RedisServer::with(&[&tls[..], &others].concat()), port)
}

fn influxd_with(certificate: &Certificate, host: &'static str) -> Influxd {
    Influxd::start_with(Options { certificate: Some(certificate.clone()), host: Some(host), ..Options::default() })
}

#[test]
fn a_self_signed_certificate_as_openssl_makes_it_works_once_it_is_trusted_by_each_name_it_is_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certificate = Certificate::self_signed(folder, "server", &[HERE]);
    let trusted = &certificate.certificate;
    let (_redis, redis) = redis_with(&certificate);
    for (host, listens) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("localhost", "127.0.0.1")] {
        let influxd = influxd_with(&certificate, listens);
        let influxdb = format!("https://{host}:{}", influxd.port());
        let file = folder.join("kadabra.toml");
        let config = config(&format!("rediss://{host}:{redis}/0"), &influxdb);
        fs::write(&file, config.replace("[publisher.influxdb]", "[publisher.influxdb]\ncreate_database = true")).unwrap();
        let mut check = kadabra();
        check.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").args(["check", "--online", "--config"]).arg(&file);
        let (code, checked) = said(check);
        assert_eq!(code, Some(0), "{checked}");
        assert!(checked.contains(&format!("at rediss://{host}:{redis}/0, queue")), "{checked}");
        assert!(checked.contains(&format!("ok: publisher: influxdb {influxdb} database {DATABASE}")), "{checked}");
    }
}

#[test]
fn a_certificate_that_is_not_right_is_refused_with_what_is_wrong_and_how_to_mend_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let not_authority = "basicConstraints=critical,CA:FALSE";
    let other = Certificate::self_signed(folder, "other", &[HERE]);
    let own = Certificate::self_signed(folder, "own", &[HERE]);
    let servers = Certificate::self_signed(folder, "servers", &[HERE, not_authority]);
    fs::create_dir(folder.join("again")).unwrap();
    let namesake = Certificate::self_signed(&folder.join("again"), "servers", &[HERE]);
    let elsewhere = Certificate::self_signed(folder, "elsewhere", &["subjectAltName=DNS:elsewhere.test,IP:10.1.2.3"]);
    let nameless = Certificate::self_signed(folder, "nameless", &[]);
    let expired = Certificate::made(folder, "expired", Some("2020-01-01 00:00:00"), &[HERE]);
    let expired_servers = Certificate::made(folder, "expired-servers", Some("2020-01-01 00:00:00"), &[HERE, not_authority]);
    let future = Certificate::made(folder, "future", Some("2090-01-01 00:00:00"), &[HERE]);
    let clients = Certificate::self_signed(folder, "clients", &[HERE, not_authority, "extendedKeyUsage=clientAuth"]);
    for (certificate, trusted, host, wrong, remedy) in [
        (&own, &other, "localhost", "(CA:TRUE, as openssl req -x509 makes them)", "put this very one into a file that"),
        (&servers, &other, "localhost", "issued by nobody whom this system trusts", "update-ca-certificates"),
        (
            &servers,
            &namesake,
            "localhost",
            "not issued by whom this system trusts under the name of its issuer",
            "update-ca-certificates",
        ),
        (
            &elsewhere,
            &elsewhere,
            "localhost",
            "is for elsewhere.test, 10.1.2.3, not for localhost",
            "subjectAltName=DNS:localhost",
        ),
        (&elsewhere, &elsewhere, "[::1]", "is for elsewhere.test, 10.1.2.3, not for ::1", "subjectAltName=IP:::1"),
        (&nameless, &nameless, "127.0.0.1", "names no host (it has no subjectAltName", "subjectAltName=IP:127.0.0.1"),
        (&expired, &expired, "localhost", "has expired, at 2020-01-03T00:00:0", "renew it there"),
        (&expired_servers, &expired_servers, "localhost", "has expired, at 2020-01-03T00:00:0", "renew it there"),
        (&future, &future, "localhost", "is not valid yet, before 2090-01-01T00:00:0", "this machine's clock"),
        (&clients, &clients, "localhost", "cannot be used", "extendedKeyUsage=serverAuth"),
    ] {
        let (_redis, redis) = redis_with(certificate);
        let influxd = influxd_with(certificate, if host == "[::1]" { "[::1]" } else { "127.0.0.1" });
        let urls = [format!("rediss://{host}:{redis}/0"), format!("https://{host}:{}", influxd.port())];
        let (code, checked) = check(folder, &urls[0], &urls[1], &trusted.certificate);
        assert_eq!(code, Some(69), "{checked}");
        for url in urls {
            let line = checked.lines().find(|line| line.starts_with("wrong") && line.contains(&url));
            let line = line.unwrap_or_else(|| panic!("{url} works: {checked}"));
            assert!(line.contains(wrong) && line.contains(remedy), "{wrong}, {remedy} in: {line}");
        }
    }
}

#[test]
fn without_any_certificate_that_the_system_trusts_that_is_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem");
    let (code, checked) = check(folder.path(), "rediss://localhost/0", "https://localhost", &none);
    assert_eq!(code, Some(69), "{checked}");
    let said = checked.matches("this system has no certificates of authorities that it trusts").count();
    assert_eq!(said, 2, "{checked}");
    assert!(checked.contains("ca-certificates") && checked.contains("none.pem"), "{checked}");
}

#[test]
fn a_redis_that_wants_a_certificate_of_its_clients_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::self_signed(folder.path(), "server", &[HERE]);
    let port = free_port();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (cert, key) = (path(&certificate.certificate), path(&certificate.key));
    let port = port.to_string();
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let tls = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
        let _redis = RedisServer::with(&[&tls[..], &["--tls-protocols", versions]].concat());
        let url = format!("rediss://localhost:{port}/0");
        let (_, checked) = check(folder.path(), &url, "http://127.0.0.1:1", &certificate.certificate);
        let line = checked.lines().find(|line| line.contains(&url) && line.starts_with("wrong")).unwrap();
        assert!(line.contains("certificate of its clients"), "{versions}: {line}");
    }
}
