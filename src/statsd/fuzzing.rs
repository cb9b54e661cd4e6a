//! What no datagrams can do; see [`crate::fuzzing`].

use std::time::{Duration, SystemTime};

use slog::{Discard, Logger, o};

use super::{
    aggregate::{Aggregate, Bounds},
    counts::Counter,
    door, messages,
};
use crate::wire::{Decoder, MessageSet};

/// Datagrams of an interval or two, each ended by a NUL.
pub(crate) fn statsd(bytes: &[u8]) {
    let bounds =
        Bounds { series: 20, bytes: 20_000, tags: 4, message: 4096, signs_add: bytes.first().is_some_and(|b| b % 2 == 0) };
    let (mut aggregate, counter) = (Aggregate::new(bounds), Counter::new(&Logger::root(Discard, o!())));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut metrics = 0;
    for _ in 0..2 {
        for datagram in bytes.split(|byte| *byte == 0) {
            let lines = datagram.split(|byte| *byte == b'\n').filter(|line| !matches!(**line, [] | [b'\r']));
            metrics += lines.count() as u64;
            door::add(&mut aggregate, datagram, &counter);
            assert!(aggregate.bytes() <= bounds.bytes, "{} bytes", aggregate.bytes());
        }
        let made = messages::made_of(&aggregate, now, bounds.message);
        assert_eq!(made.unmade, Vec::<String>::new());
        assert_eq!(made.messages.is_empty(), aggregate.is_empty());
        let (series, mut set) = (aggregate.recent().len(), MessageSet::new());
        assert!(series <= bounds.series);
        for message in &made.messages {
            assert!(message.len() <= bounds.message);
            assert_eq!(Decoder::new().decode(message, &mut set), [], "the agent refuses its own message");
        }
        assert_eq!(set.point_count(), series);
        aggregate.begin_anew();
        assert!(aggregate.is_empty());
    }
    let counts = counter.now();
    assert_eq!(counts.aggregated + counts.ignored + counts.all_refused(), metrics, "{counts:?}");
}
