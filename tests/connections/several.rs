//! Redis as one of several servers, by Sentinels or in a cluster: which keys of the configuration are named when it cannot be used.

use std::{io::Write as _, net::TcpListener, thread};

use super::{certificates::redis_with, *};
use crate::support::redis_groups::{LoneSentinel, MASTER_NAME};

const HERE: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";

/// What `kadabra check --online` complains of with this channel, where the system trusts nothing.
fn wrong(folder: &Path, channel: &str) -> String {
    let file = folder.join("kadabra.toml");
    let more = "lease = \"30s\"\ntimeout = \"10s\"";
    let channel = channel.replace("[channel.redis]", &format!("[channel.redis]\n{more}"));
    fs::write(&file, format!("[channel]\ntype = \"redis\"\n{channel}\n[publisher]\ntype = \"debug\"\n")).unwrap();
    let mut check = kadabra();
    check.env("SSL_CERT_FILE", folder.join("other.pem")).env_remove("SSL_CERT_DIR");
    check.args(["check", "--online", "--config"]).arg(&file);
    let (code, checked) = said(check);
    assert_eq!(code, Some(69), "{checked}");
    checked
}

#[test]
fn what_is_wrong_with_tls_is_mended_in_the_section_of_the_sentinels_or_of_the_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [ours, other] = ["ours", "other"].map(|name| Certificate::self_signed(folder, name, &[]));
    let server = ours.issue(folder, "server", None, &[HERE]);
    let elsewhere = ours.issue(folder, "elsewhere", None, &["subjectAltName=DNS:db.example.com"]);
    let strange = other.issue(folder, "strange", None, &[]);
    let trusting = format!("ca_file = {:?}\n", ours.certificate);
    let named = format!("{trusting}server_name = \"db.example.org\"\n");
    let shown = format!("{trusting}client_certificate = {:?}\nclient_key = {:?}\n", strange.certificate, strange.key);

    let listener = TcpListener::bind("localhost:0").unwrap();
    let no_tls = format!("localhost:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || listener.incoming().flatten().for_each(|mut client| drop(client.write_all(b"-ERR no TLS here\r\n"))));
    let at = |url: &str| url.trim_start_matches("rediss://").trim_end_matches("/0").to_owned();
    let (_ours, trusted) = redis_with(&server, None, &[]);
    let (_elsewhere, for_another) = redis_with(&elsewhere, None, &[]);
    let (_old, wants_old) = redis_with(&server, Some(&ours), &["--tls-protocols", "TLSv1.2"]);
    let (_new, wants_new) = redis_with(&server, Some(&ours), &["--tls-protocols", "TLSv1.3"]);
    let wants = "name one that it accepts in SECTION.client_certificate, and its key in SECTION.client_key, or";
    for (mode, before, section) in [
        (format!("\"sentinel\"\nmaster_name = \"{MASTER_NAME}\""), "[channel.redis.sentinel]\n", "channel.redis.sentinel"),
        ("\"cluster\"".to_owned(), "", "channel.redis"),
    ] {
        for (node, keys, says) in [
            (&at(&trusted), "", "into a file that SECTION.ca_file names"),
            (&at(&for_another), &*trusting, "write a host that it is for into SECTION.server_name, or make one"),
            (&at(&for_another), &named, "correct SECTION.server_name, or make one"),
            (&at(&wants_old), &trusting, wants),
            (&at(&wants_new), &trusting, wants),
            (&at(&wants_old), &shown, "trust its issuer (SECTION.client_certificate)"),
            (&no_tls, &trusting, "that port speaks TLS; SECTION.use_tls = false connects without"),
        ] {
            let line =
                wrong(folder, &format!("[channel.redis]\nmode = {mode}\nnodes = [{node:?}]\n{before}use_tls = true\n{keys}"));
            assert!(line.contains(&says.replace("SECTION", section)), "{says}: {line}");
        }
    }
}

#[test]
fn what_is_wrong_with_the_primary_that_sentinels_name_is_not_looked_for_in_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let mut primary = RedisServer::start();
    let sentinel = LoneSentinel::of(&primary);
    let check = |keys: &str| {
        let node = format!("127.0.0.1:{}", sentinel.port);
        let channel =
            format!("[channel.redis]\nmode = \"sentinel\"\nmaster_name = \"{MASTER_NAME}\"\nnodes = [{node:?}]\n{keys}");
        wrong(folder.path(), &channel)
    };
    let line = check("database = 99");
    assert!(line.contains("has no database of that number") && line.contains("correct channel.redis.database"), "{line}");
    primary.kill9();
    let line = check("");
    let says = "check that Redis is running there, and what the Sentinels in channel.redis.nodes say";
    assert!(line.contains(says), "{line}");
}
