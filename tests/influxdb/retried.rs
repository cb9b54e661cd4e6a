//! Servers that do not answer are tried again, from where it stopped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kadabra::{
    config::Influxdb,
    publisher::{LinePublisher, Publisher},
};

use super::{all_written, config, many, one, publish, ready, retried, wait_for_written, write_on};
use crate::support::stand_in::{Reply, StandIn};

#[actix_rt::test]
async fn a_paused_server_is_retried_within_the_timeout_and_loses_nothing() {
    let (influxd, _) = ready();
    let mut publisher = LinePublisher::influxdb(&Influxdb { timeout: Duration::from_millis(300), ..config(&influxd.url()) });
    while publisher.probe().await != all_written() {}
    influxd.pause();
    publisher.load(Arc::new(many(2000)));
    for _ in 0..3 {
        let begin = Instant::now();
        let (after, why) = retried(write_on(&mut publisher).await);
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert_eq!((after, why), (None, format!("cannot write to influxdb at {}: no answer within 300ms", influxd.url())));
    }
    influxd.resume();
    let outcome = wait_for_written(&mut publisher).await;
    assert_eq!(outcome, all_written());
    assert_eq!(influxd.count("kadabra", "c"), 2000);
}

#[actix_rt::test]
async fn a_server_that_goes_away_and_comes_back_is_retried() {
    let (mut influxd, mut publisher) = ready();
    assert_eq!(publish(&mut publisher, &one()).await, all_written());
    influxd.stop();
    publisher.load(Arc::new(many(1000)));
    let (_, why) = retried(write_on(&mut publisher).await);
    assert!(why.contains("cannot connect: ") && why.contains("refused") || why.contains("connection"), "{why}");
    let (_, why) = retried(write_on(&mut publisher).await);
    assert!(why.contains("cannot connect: ") && why.contains("refused"), "{why}");
    influxd.start_again();
    assert_eq!(wait_for_written(&mut publisher).await, all_written());
    assert_eq!(influxd.count("kadabra", "c"), 1001);
}

#[actix_rt::test]
async fn progress_survives_an_outage_in_the_middle_of_a_batch() {
    // A real server cannot be made to fail exactly between two requests.
    let written = Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let server =
        StandIn::start(vec![written.clone(), Reply::Bytes(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_vec()), written]);
    let mut publisher = LinePublisher::influxdb(&config(&server.url()));
    publisher.load(Arc::new(many(25_000)));
    retried(write_on(&mut publisher).await);
    assert_eq!(write_on(&mut publisher).await, all_written());
    let sizes: Vec<usize> =
        server.requests().iter().map(|request| request.lines().filter(|line| line.starts_with("c,host=a ")).count()).collect();
    assert_eq!(sizes, [10_000, 10_000, 10_000, 5_000]);
}
