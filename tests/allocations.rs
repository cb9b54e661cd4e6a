//! In the steady state memory is allocated per batch, not per message or point.
//!
//! A binary of its own, since what counts is the allocator. It counts each thread by itself, so neighbours do not disturb.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

use std::{sync::Arc, time::Duration};

use allocation_counter::measure;
use kadabra::{
    config::{Influxdb, InfluxdbApi, InfluxdbV1},
    publisher::{LinePublisher, Publisher},
    wire::{Decoder, MessageSet},
};

#[path = "support/flask.rs"]
mod flask;

/// A batch of the default configuration is at most ten times as large.
const BATCH: usize = 1_000;

/// The body is shared with the request that sends it, which takes one.
const MOST_ENCODING: u64 = 2;

/// Messages that differ in their numbers but not in their size.
fn batch(messages: usize, change: impl Fn(String) -> String) -> Vec<String> {
    (0..messages).map(|number| change(flask::message(number))).collect()
}

fn as_it_is(message: String) -> String {
    message
}

fn decode(decoder: &mut Decoder, messages: &[String], set: &mut MessageSet) {
    for message in messages {
        assert!(decoder.decode(message.as_bytes(), set).is_empty(), "refused: {message}");
    }
}

/// How many allocations decoding a batch makes once a batch of the same size has been decoded into the same set.
fn decoding_again(messages: &[String]) -> u64 {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    decode(&mut decoder, messages, &mut set);
    set.clear();
    measure(|| decode(&mut decoder, messages, &mut set)).count_total
}

/// How many allocations decoding a batch makes into a set that is new, as the agent does it: the set before went with
/// its batch to a publisher.
fn decoding_anew(messages: &[String]) -> u64 {
    let mut decoder = Decoder::new();
    decode(&mut decoder, messages, &mut MessageSet::new());
    let mut set = MessageSet::new();
    measure(|| decode(&mut decoder, messages, &mut set)).count_total
}

/// How many allocations encoding a batch makes after one of the same size.
fn encoding_again(messages: &[String]) -> u64 {
    let (mut decoder, mut set) = (Decoder::new(), MessageSet::new());
    decode(&mut decoder, messages, &mut set);
    let mut publisher = LinePublisher::influxdb(&Influxdb {
        url: "http://localhost:8086".to_owned(),
        api: InfluxdbApi::V1(InfluxdbV1 { database: "kadabra".to_owned(), ..InfluxdbV1::default() }),
        tls: kadabra::config::Tls::default(),
        proxy: None,
        timeout: Duration::from_secs(5),
        gzip: false,
        unique_timestamps: true,
    });
    let set = Arc::new(set);
    publisher.load(Arc::clone(&set));
    measure(|| publisher.load(set)).count_total
}

#[test]
fn decoding_into_memory_that_is_there_allocates_nothing() {
    assert_eq!(decoding_again(&batch(BATCH, as_it_is)), 0);
}

#[test]
fn decoding_a_new_batch_allocates_by_the_logarithm_of_its_size() {
    let (small, large) = (decoding_anew(&batch(BATCH, as_it_is)), decoding_anew(&batch(8 * BATCH, as_it_is)));
    eprintln!("decoding {BATCH} messages into a new set: {small} allocations; {} messages: {large}", 8 * BATCH);
    // Text, dimensions, fields, points and entries: each doubles until it is large enough, 59 times in all when this was
    // written, and three times more for eight times as many messages.
    assert!(small <= 5 * 15, "{small} allocations for {BATCH} messages");
    assert!(large <= small + 5 * 3, "{small} allocations for {BATCH} messages, {large} for {}", 8 * BATCH);
}

#[test]
fn encoding_allocates_as_often_for_a_large_batch_as_for_a_small_one() {
    let (small, large) = (encoding_again(&batch(BATCH, as_it_is)), encoding_again(&batch(4 * BATCH, as_it_is)));
    eprintln!("encoding {BATCH} messages: {small} allocations; {} messages: {large}", 4 * BATCH);
    assert!(small <= MOST_ENCODING, "{small} allocations for {BATCH} messages");
    assert_eq!(small, large, "for {BATCH} and for {} messages", 4 * BATCH);
}

#[test]
fn what_unusual_messages_allocate_while_they_are_decoded_is_known_and_encoding_them_is_like_the_others() {
    const FEW: usize = 100;
    type Change = fn(String) -> String;
    // Allocations a message.
    let cases: [(&str, u64, Change); 8] = [
        ("a hundred more counters", 0, |message| {
            let more: String = (0..100).map(|_| [flask::counter("more", 1).as_str(), ", "].concat()).collect();
            message.replacen(r#""counters": ["#, &[r#""counters": ["#, &more].concat(), 1)
        }),
        ("a timestamp format of its own", 0, |message| message.replace("12:00:", "12/00/").replace("%H:%M:", "%H/%M/")),
        ("escapes, for which serde_json takes memory in each message", 2, |message| message.replace("users", r"us\u00e4rs")),
        ("a dimension that is a float, written as Python does", 0, |message| {
            message.replace(r#""value": "GET""#, r#""value": 2.5"#)
        }),
        ("a dimension that is an integer, written as Python does", 0, |message| {
            message.replace(r#""value": "GET""#, r#""value": 25"#)
        }),
        ("a list in metadata, written out as JSON", 0, |message| {
            message.replacen(r#""metadata": {"#, r#""metadata": {"list": [1, "two"], "#, 1)
        }),
        (
            "more metadata than is searched by looking at all pairs, sorted when it is judged and when it is written",
            4,
            |message| {
                let entries: String = (0..16).map(|n| format!(r#""m{n}": {n}, "#)).collect();
                message.replacen(r#""metadata": {"#, &[r#""metadata": {"#, &entries].concat(), 1)
            },
        ),
        ("NaN, which is read a second time, repaired", 4, |message| message.replacen('{', r#"{"more": NaN, "#, 1)),
    ];
    for (what, allowed, change) in cases {
        let messages = batch(FEW, change);
        assert_ne!(messages[0], flask::message(0), "{what}");
        let decoding = decoding_again(&messages);
        assert!(decoding <= allowed * FEW as u64, "{what}: decoding {FEW} messages makes {decoding} allocations");
        let encoding = encoding_again(&messages);
        assert!(encoding <= MOST_ENCODING, "{what}: encoding {FEW} messages makes {encoding} allocations");
    }
}
