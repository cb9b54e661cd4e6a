//! What an operator can mend is held, and goes on when it is mended.

use kadabra::{
    config::Secret,
    publisher::{LinePublisher, Publisher},
};

use super::{PASSWORD, all_written, config, held, one, publish, ready, with, write_on};
use crate::support::{
    influxd::{Influxd, Options},
    stand_in::{Reply, StandIn},
};

#[actix_rt::test]
async fn a_missing_database_is_held_until_it_is_created() {
    let influxd = Influxd::start();
    let mut publisher = LinePublisher::influxdb(&config(&influxd.url()));
    let (what, mend) = held(publish(&mut publisher, &one()).await);
    assert_eq!(what, format!("influxdb at {} has no database \"kadabra\": 404 database not found: \"kadabra\"", influxd.url()));
    let port = influxd.url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(
        mend,
        format!(
            "create it with: influx -host 127.0.0.1 -port {port} -execute 'CREATE DATABASE \"kadabra\"', or set \
             publisher.influxdb.create_database = true"
        )
    );
    assert_eq!(held(publisher.probe().await), (what, mend));
    influxd.create_database("kadabra");
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(write_on(&mut publisher).await, all_written());
    assert_eq!(influxd.count("kadabra", "c"), 1);
}

#[actix_rt::test]
async fn a_missing_database_is_created_when_we_may() {
    let influxd = Influxd::start();
    let name = "odd \"name\" ü";
    let mut publisher =
        LinePublisher::influxdb(&with(&influxd.url(), |v1| (v1.create_database, v1.database) = (true, name.to_owned())));
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    assert_eq!(influxd.count(name, "c"), 1);
    influxd.drop_database(name);
    let invalid = with(&influxd.url(), |v1| (v1.create_database, v1.database) = (true, "no\\way".to_owned()));
    let (what, _) = held(publish(&mut LinePublisher::influxdb(&invalid), &one()).await);
    assert!(what.ends_with("and creating it failed: 200 invalid name"), "{what}");
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    assert_eq!(influxd.count(name, "c"), 1);
}

#[actix_rt::test]
async fn a_database_that_is_missing_after_it_was_created_is_held() {
    // No real server says that it created a database and then that there is none.
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\n\r\n{\"error\":\"database not found: \\\"k\\\"\"}    ";
    let created = "HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"results\":[{\"statement_id\":0}]} ";
    let replies = [missing, created, missing].map(|reply| Reply::Bytes(reply.as_bytes().to_vec())).to_vec();
    let server = StandIn::start(replies);
    let mut publisher = LinePublisher::influxdb(&with(&server.url(), |v1| v1.create_database = true));
    let (what, _) = held(publish(&mut publisher, &one()).await);
    assert!(what.contains("creating it failed"), "{what}");
    assert_eq!(server.requests().len(), 3);
}

#[actix_rt::test]
async fn a_missing_retention_policy_is_held_until_it_is_created() {
    let (influxd, _) = ready();
    let mut publisher = LinePublisher::influxdb(&with(&influxd.url(), |v1| v1.retention_policy = Some("a year".to_owned())));
    let (what, mend) = held(publish(&mut publisher, &one()).await);
    assert!(what.ends_with("500 retention policy not found: a year"), "{what}");
    assert!(mend.contains("CREATE RETENTION POLICY \"a year\" ON \"kadabra\""), "{mend}");
    assert_eq!(held(publisher.probe().await), (what, mend));
    influxd.execute("CREATE RETENTION POLICY \"a year\" ON kadabra DURATION INF REPLICATION 1");
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(write_on(&mut publisher).await, all_written());
}

#[actix_rt::test]
async fn a_login_that_is_missing_wrong_or_without_rights_is_held_and_never_shown() {
    let influxd = Influxd::start_with(Options { admin: Some(("admin", "root")), ..Options::default() });
    influxd.create_database("kadabra");
    let user = |name: &str, password: &str| {
        with(&influxd.url(), |v1| (v1.username, v1.password) = (Some(name.to_owned()), Some(Secret::new(password))))
    };
    let creator = |name: &str, password: &str| {
        LinePublisher::influxdb(&with(&influxd.url(), |v1| {
            (v1.username, v1.password) = (Some(name.to_owned()), Some(Secret::new(password)));
            (v1.create_database, v1.database) = (true, "new".to_owned());
        }))
    };
    let mut nobody = LinePublisher::influxdb(&config(&influxd.url()));
    let (what, mend) = held(publish(&mut nobody, &one()).await);
    assert!(
        what.contains("wants a user and a password: 401") && mend.starts_with("set publisher.influxdb.username"),
        "{what}; {mend}"
    );

    influxd.execute(&format!("CREATE USER \"some:one\" WITH PASSWORD '{PASSWORD}'"));
    influxd.execute(&format!("CREATE USER \"me\" WITH PASSWORD '{PASSWORD}'"));
    for (name, password, expected) in
        [("me", "wrong-secret", "does not accept the user \"me\""), ("me", PASSWORD, "does not let us write")]
    {
        let mut publisher = LinePublisher::influxdb(&user(name, password));
        let (what, mend) = held(publish(&mut publisher, &one()).await);
        assert!(what.contains(expected), "{what}");
        assert!(!what.contains(password) && !mend.contains(password), "{what}; {mend}");
        assert_eq!(held(publisher.probe().await), (what, mend));
    }
    influxd.execute("GRANT WRITE ON kadabra TO \"me\"");
    let mut publisher = LinePublisher::influxdb(&user("me", PASSWORD));
    assert_eq!(publisher.probe().await, all_written());
    assert_eq!(publish(&mut publisher, &one()).await, all_written());

    let (what, _) = held(publish(&mut creator("me", PASSWORD), &one()).await);
    assert!(what.contains("40"), "{what}");
    assert_eq!(publish(&mut creator("admin", "root"), &one()).await, all_written());
}
