//! TLS to Redis: a port without it, a certificate nobody trusts, and one that is trusted.

use std::{env, path::Path, process::Command};

use super::*;
use crate::support::process::free_port;

/// Tells the test, when it runs once more in a process that trusts the certificate, where Redis is.
const URL: &str = "KADABRA_TEST_TLS_URL";

fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").args(args.split(' ')).current_dir(dir).output();
    let output = output.unwrap_or_else(|e| panic!("cannot start openssl: {e}; run tests/run"));
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server with a certificate of an authority of its own, `ca.pem` in the folder.
fn start(dir: &Path) -> (RedisServer, String) {
    openssl(dir, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-authority");
    openssl(dir, "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost");
    std::fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
    openssl(dir, "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names");
    let port = free_port();
    let path = |name: &str| dir.join(name).display().to_string();
    let (cert, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let server = RedisServer::for_agents_with(&[&tls[..], &["--tls-auth-clients", "no"]].concat());
    (server, format!("rediss://localhost:{port}/0"))
}

#[test]
fn a_port_without_tls() {
    let server = RedisServer::for_agents();
    let url = server.url().replace("redis:", "rediss:");
    run(async {
        let impatient = Redis { timeout: Duration::from_millis(500), ..settings(&url) };
        let error = RedisChannel::new(&impatient, "here", LONG).unwrap().open().await.unwrap_err();
        assert!(matches!(error, ChannelError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("rediss://127.0.0.1") && error.to_string().contains("speaks TLS"), "{error}");
    });
}

#[test]
fn a_certificate_that_nobody_trusts() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, url) = start(dir.path());
    run(async {
        let error = RedisChannel::new(&settings(&url), "here", LONG).unwrap().open().await.unwrap_err();
        assert!(matches!(error, ChannelError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("its certificate was issued by nobody whom this system trusts"), "{error}");
    });
}

#[test]
fn a_certificate_that_the_system_trusts() {
    if let Ok(url) = env::var(URL) {
        run(async {
            let channel = RedisChannel::new(&settings(&url), "here", LONG).unwrap();
            assert!(channel.open().await.unwrap().contains(&url));
            drop(channel.receive(ALL, Duration::from_millis(5)).await.unwrap());
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, url) = start(dir.path());
    // Which certificates the system trusts is asked of the environment, which a test cannot change for itself.
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "channel_redis::tls::a_certificate_that_the_system_trusts"]);
    let output = again.env(URL, url).env("SSL_CERT_FILE", dir.path().join("ca.pem")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
