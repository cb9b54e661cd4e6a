//! InfluxDB behind a real squid, whose pages of errors are no answers of InfluxDB; and behind one that is itself spoken to by TLS.

use super::{
    proxies::{by_key, check, influxd_of_tls, with_database},
    *,
};
use crate::support::{
    between::{Between, Server},
    http_server::{Fault, Response},
    process::wait_for,
    squid::Squid,
};

#[test]
fn points_reach_influxdb_through_squid_by_http_and_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (secure, certificate) = influxd_of_tls(folder.path());
    let plain = with_database(Influxd::start());
    let squid = Squid::start(Some(("me", "hunter2")));
    let trusted = [("SSL_CERT_FILE", squid.certificate.certificate.to_str().unwrap())];
    for url in [squid.url(), squid.tls_url()] {
        let with_login = url.replace("://", "://me:hunter2@");
        let said = check(&plain.url(), &by_key(&with_login), None, &trusted);
        assert!(said.starts_with("ok: ") && said.contains(&format!("through the proxy {url}")), "{said}");
        // Which it writes after its answer.
        let logged = |what: &str| wait_for(what, PATIENCE, || squid.log().contains(what).then_some(()));
        logged("/204 ");
        logged(&format!("POST {}/write?", plain.url()));
        let lines = format!("{}ca_file = {:?}\n", by_key(&with_login), certificate.certificate);
        let said = check(&secure.url(), &lines, None, &trusted);
        assert!(said.starts_with("ok: ") && said.contains(&format!("through the proxy {url}")), "{said}");
        logged(&format!("CONNECT 127.0.0.1:{}", secure.port()));
    }
    // The environment says so, too.
    let hosts = hosts(&folder, "db.test", &["127.0.0.1"]);
    let url = squid.tls_url().replace("://", "://me:hunter2@");
    let variables = [("https_proxy", url.as_str()), trusted[0]];
    let said = check(&format!("https://db.test:{}", secure.port()), "", Some(&hosts), &variables);
    assert!(said.contains("(https_proxy) does not reach db.test:"), "squid looks names up itself: {said}");
    let said = check(&plain.url(), &by_key(&url), None, &[]);
    assert!(said.contains(&format!("cannot connect: the proxy {}: its certificate", squid.tls_url())), "{said}");
}

#[test]
fn a_squid_that_does_not_lead_there_is_said_with_what_to_do() {
    let squid = Squid::start(Some(("me", "hunter2")));
    let nobody = ["http", "https"].map(|scheme| format!("{scheme}://127.0.0.1:{}", free_port()));
    for influxdb in &nobody {
        for (login, what, mend) in [
            ("", "wants a user and a password: 407", "write them into publisher.influxdb.proxy"),
            ("me:wrong@", "does not accept the user or the password: 407", "correct the user and the password in"),
            ("me:hunter2@", "does not reach 127.0.0.1:", "that the proxy reaches it"),
        ] {
            let proxy = squid.url().replace("://", &format!("://{login}"));
            let said = check(influxdb, &by_key(&proxy), None, &[]);
            assert!(said.starts_with("wrong: ") && said.contains(what) && said.contains(mend), "{what}, {mend} in: {said}");
        }
    }
}

#[test]
fn what_squid_says_while_the_server_or_itself_is_away_sets_nothing_aside() {
    let mut between = Between::v2();
    let mut squid = Squid::start(None);
    let proxy = between.key("PROXY");
    let mut agent = between.agent().env(&proxy, squid.url()).start();
    between.push_numbers(0..100);
    between.assert_all_written(0..100);
    assert!(squid.log().contains("POST http://"), "{}", squid.log());

    let Server::V2(server) = &mut between.server else { unreachable!() };
    server.stop();
    between.push_numbers(100..200);
    let said = agent.wait_condition("publisher").to_string();
    assert!(said.contains("does not reach 127.0.0.1:") && said.contains("503"), "{said}");
    squid.stop();
    wait_for("the agent to miss squid", PATIENCE, || agent.log_text().contains("Connection refused").then_some(()));
    let Server::V2(server) = &mut between.server else { unreachable!() };
    server.start_again();
    squid.start_again();
    between.assert_all_written(0..200);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// InfluxDB 3 has no header of its own in its answers.
#[test]
fn what_influxdb_3_says_behind_a_proxy_is_not_taken_for_the_proxys_word() {
    let between = Between::v3();
    let squid = Squid::start(None);
    let Server::V3(server) = &between.server else { unreachable!() };
    let full = "write buffer error: error from wal: object_store error: No space left on device (os error 28)";
    server.fault(Some(Fault::Storage(Response::new(500, &[], full))));
    let mut agent = between.agent().env(&between.key("PROXY"), squid.url()).start();
    between.push_numbers(0..100);
    let said = agent.wait_condition("publisher").to_string();
    assert!(said.contains("cannot write its log: 500 write buffer error"), "{said}");
    server.fault(None);
    between.assert_all_written(0..100);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}
