use proptest::prelude::*;

use super::{
    super::{
        lines::{Lines, WINDOW},
        window::Encode,
    },
    *,
};
use crate::{
    publisher::Refused,
    wire::{
        Decoder,
        build::{Metric, Value},
    },
};

const RULES: Rules = Rules { name: "InfluxDB 1.x", max_key: 65_535, unique_timestamps: false, backslashes: Backslashes::Kept };
const UNIQUE: Rules = Rules { unique_timestamps: true, ..RULES };

fn counter(name: &str) -> Metric {
    Metric { name: name.to_owned(), unit: None, value: 1.0, time: 1, metadata: Vec::new() }
}

fn pairs(dimensions: &[(&str, &str)]) -> Vec<(String, String)> {
    dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn encode(set: &MessageSet) -> Lines {
    let mut lines = Lines::default();
    assert_eq!(Encoder::new(RULES).encode(set, Place::default(), &mut lines), None);
    lines
}

fn text(lines: &Lines) -> String {
    String::from_utf8(lines.slice(&(0..lines.len())).to_vec()).unwrap()
}

#[test]
fn a_counter_and_a_timer_are_these_bytes() {
    let mut set = MessageSet::new();
    set.push_message(
        &pairs(&[("method", "GET"), ("env", "prod"), ("empty", ""), ("host name", "a,b=c")]),
        &[
            Metric {
                name: "user signup".to_owned(),
                unit: None,
                value: 1e22,
                time: 1_772_464_229_986_705_123,
                metadata: vec![
                    ("i".to_owned(), Value::Int(7)),
                    ("f".to_owned(), Value::Float(1.5)),
                    ("b".to_owned(), Value::Bool(true)),
                    ("c".to_owned(), Value::Bool(false)),
                    ("a key".to_owned(), Value::Text("it's \"q\" \\ \n".to_owned())),
                    ("unit".to_owned(), Value::Text("kept".to_owned())),
                    ("value".to_owned(), Value::Text("overwritten".to_owned())),
                ],
            },
            Metric {
                name: "t".to_owned(),
                unit: Some("milliseconds".to_owned()),
                value: 0.0125,
                time: -5,
                metadata: vec![("unit".to_owned(), Value::Text("overwritten".to_owned()))],
            },
        ],
    );
    let tags = r",env=prod,host\ name=a\,b\=c,method=GET";
    let expected = format!(
        "user\\ signup{tags} value=1e22,i=7i,f=1.5,b=true,c=false,a\\ key=\"it's \\\"q\\\" \\\\ \n\",unit=\"kept\" 1772464229986705123\n\
         t{tags} value=0.0125,unit=\"milliseconds\" -5\n"
    );
    let lines = encode(&set);
    assert_eq!(text(&lines), expected);
    assert_eq!(lines.refused, []);
}

#[test]
fn the_last_of_a_repeated_dimension_wins_even_when_it_is_empty() {
    let mut set = MessageSet::new();
    set.push_message(&pairs(&[("d", "1"), ("e", "x"), ("d", "2"), ("e", "")]), &[counter("c")]);
    assert_eq!(text(&encode(&set)), "c,d=2 value=1.0 1\n");
}

#[test]
fn names_that_are_stored_as_the_same_name_are_one_and_the_last_wins() {
    let mut set = MessageSet::new();
    set.push_message(&pairs(&[("a\nb", "1"), ("c", "x"), ("a\\nb", "2")]), &[counter("c")]);
    set.push_message(&pairs(&[("a\\nb", "2"), ("a\nb", "1")]), &[counter("c")]);
    set.push_message(&pairs(&[("a\\nb", "2"), ("a\nb", "")]), &[counter("c")]);
    set.push_message(&pairs(&[("d\\", "1"), ("d\\ ", "2")]), &[counter("c")]);
    let metadata = ["k\nl", "k\\nl", "m"].iter().zip(1..).map(|(key, value)| ((*key).to_owned(), Value::Int(value))).collect();
    set.push_message(&[], &[Metric { metadata, ..counter("c") }]);
    assert_eq!(
        text(&encode(&set)),
        "c,a\\nb=2,c=x value=1.0 1\nc,a\\nb=1 value=1.0 1\nc value=1.0 1\nc,d\\\\ =2 value=1.0 1\nc value=1.0,k\\nl=2i,m=3i 1\n"
    );
}

#[test]
fn numbers_are_the_shortest_that_read_back_the_same() {
    for (value, expected) in [
        (0.1, "0.1"),
        (5e-324, "5e-324"),
        (f64::MAX, "1.7976931348623157e308"),
        (-0.0, "-0.0"),
        (123_456_789.125, "123456789.125"),
    ] {
        let mut set = MessageSet::new();
        set.push_message(&[], &[Metric { value, ..counter("c") }]);
        assert_eq!(text(&encode(&set)), format!("c value={expected} 1\n"));
    }
    let mut set = MessageSet::new();
    set.push_message(&[], &[Metric { metadata: vec![("i".to_owned(), Value::Int(i64::MIN))], time: i64::MAX, ..counter("c") }]);
    assert_eq!(text(&encode(&set)), "c value=1.0,i=-9223372036854775808i 9223372036854775807\n");
}

#[test]
fn ranges_of_lines_are_slices_of_the_body() {
    let mut set = MessageSet::new();
    set.push_message(&[], &[counter("a"), counter("b")]);
    set.push_message(&[], &[]);
    set.push_message(&[], &[counter("c")]);
    let lines = encode(&set);
    let body = lines.slice(&(0..3));
    for (range, expected) in
        [(0..1, "a value=1.0 1\n"), (1..3, "b value=1.0 1\nc value=1.0 1\n"), (2..3, "c value=1.0 1\n"), (1..1, "")]
    {
        let slice = lines.slice(&range);
        assert_eq!(slice, expected);
        assert_eq!(lines.size(&range), expected.len());
        assert!(slice.is_empty() || body.as_ptr_range().contains(&slice.as_ptr()));
    }
    let (place, refusal) = lines.refusal(2, "because", Backslashes::Kept).unwrap();
    assert_eq!(place, Place { message: 2, point: 0 });
    assert_eq!(refusal, Refused { message: 2, metric: Some("c".to_owned()), reason: "because".to_owned() });
}

#[test]
fn what_line_protocol_cannot_say_is_refused_and_its_neighbours_are_not() {
    let bad = [
        Metric { value: f64::NAN, ..counter("nan") },
        Metric { metadata: vec![("f".to_owned(), Value::Float(f64::INFINITY))], ..counter("inf") },
        counter("ends with \\"),
        counter(&"x".repeat(65_535)),
        Metric { metadata: vec![("x".repeat(65_530), Value::Int(1))], ..counter("long key") },
        Metric { metadata: vec![("a\\=b".to_owned(), Value::Int(1))], ..counter("key") },
    ];
    let mut metrics = vec![counter("first")];
    metrics.extend(bad.clone());
    metrics.push(Metric { metadata: vec![("s".to_owned(), Value::Text("x".repeat(100_000)))], ..counter("last") });
    let mut set = MessageSet::new();
    set.push_message(&[], &metrics);
    let lines = encode(&set);
    assert_eq!(lines.len(), 2);
    assert!(text(&lines).starts_with("first value=1.0 1\nlast value=1.0,s=\"xxx"));
    let refused: Vec<&str> = lines.refused.iter().map(|(_, refused)| refused.metric.as_deref().unwrap()).collect();
    assert_eq!(refused, bad.iter().map(|metric| cut_name(&metric.name)).collect::<Vec<_>>());
}

#[test]
fn a_field_called_time_is_left_out_and_said() {
    let mut set = MessageSet::new();
    set.push_message(
        &[],
        &[Metric { metadata: vec![("time".to_owned(), Value::Int(3)), ("x".to_owned(), Value::Int(4))], ..counter("c") }],
    );
    let lines = encode(&set);
    assert_eq!(text(&lines), "c value=1.0,x=4i 1\n");
    assert_eq!(lines.refused[0].1.reason, TIME_FIELD);
}

#[test]
fn a_rogue_second_line_is_not_written() {
    let mut set = MessageSet::new();
    let metadata = vec![("s".to_owned(), Value::Text("x\nrogue v=2 2".to_owned()))];
    set.push_message(&pairs(&[("a\\ b", "c\"")]), &[Metric { metadata, ..counter("c") }]);
    let lines = encode(&set);
    assert_eq!(lines.len(), 0);
    assert_eq!(lines.refused[0].1.reason, [RULES.name, NOT_ONE_LINE].concat());
}

#[test]
fn a_batch_is_encoded_window_by_window_and_nothing_is_left_out_or_doubled() {
    let mut set = MessageSet::new();
    let tags: Vec<_> = (0..60).map(|tag| (format!("tag{tag}"), "v".repeat(1000))).collect();
    for message in 0..5 {
        // The third message has no point, and the last point of each cannot be a line.
        let mut counters: Vec<_> = (0..if message == 2 { 0 } else { 150 }).map(|n| counter(&format!("c{n}"))).collect();
        counters.extend((message != 2).then(|| counter("unreadable\\")));
        set.push_message(&tags, &counters);
    }
    let (mut lines, mut encoder) = (Lines::default(), Encoder::new(RULES));
    let (mut places, mut refused, mut windows) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(Place::default());
    while let Some(from) = next {
        next = encoder.encode(&set, from, &mut lines);
        windows += 1;
        assert!(lines.body.len() < WINDOW + 70_000, "{} bytes", lines.body.len());
        assert!(text(&lines).lines().all(|line| line.starts_with('c') && line.len() > 60_000));
        places.extend(lines.lines.iter().map(|line| (line.place.message, line.place.point)));
        refused.extend(lines.take_refused().into_iter().map(|(place, _)| (place.message, place.point)));
    }
    assert_eq!(windows, 18);
    let expected =
        |points: std::ops::Range<usize>| [0, 1, 3, 4].into_iter().flat_map(move |m| points.clone().map(move |p| (m, p)));
    assert_eq!(places, expected(0..150).collect::<Vec<_>>());
    assert_eq!(refused, expected(150..151).collect::<Vec<_>>());
}

#[test]
fn points_of_one_series_and_microsecond_are_kept_apart_and_written_again_at_the_same_time() {
    let payload = |value: u32| {
        let counter = format!(r#"{{"name": "c", "metadata": {{}}, "timestamp": "1970", "value": {value}}}"#);
        format!(r#"{{"dimensions": [], "counters": [{counter}, {counter}], "timers": [], "timestamp_format": "%Y"}}"#)
    };
    let times = |encoder: &mut Encoder, adopted: bool| -> Vec<i64> {
        let (mut decoder, mut set, mut lines) = (Decoder::new(), MessageSet::new(), Lines::default());
        for value in [1, 2, 1] {
            assert_eq!(decoder.decode(payload(value).as_bytes(), &mut set), []);
        }
        if adopted {
            set.mark_adopted(1);
        }
        assert_eq!(encoder.encode(&set, Place::default(), &mut lines), None);
        text(&lines).lines().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    let offsets = |value| {
        let digest = i64::from(crc32fast::hash(payload(value).as_bytes()));
        [digest % 1000, (digest + 1) % 1000]
    };
    let (one, two) = (offsets(1), offsets(2));
    assert_ne!(one, two);
    assert_eq!(times(&mut Encoder::new(UNIQUE), false), [one, two, one].concat());
    assert_eq!(times(&mut Encoder::new(UNIQUE), true), [one, [0, 0], [0, 0]].concat(), "a Python agent wrote it at that time");
    assert_eq!(times(&mut Encoder::new(RULES), false), [0; 6]);
}

#[test]
fn a_time_whose_offset_is_beyond_64_bits_is_refused() {
    let mut set = MessageSet::new();
    set.push_message(&[], &vec![Metric { time: i64::MAX - 1, ..counter("c") }; 3]);
    let mut lines = Lines::default();
    assert_eq!(Encoder::new(UNIQUE).encode(&set, Place::default(), &mut lines), None);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines.take_refused()[0].1.reason, TOO_LATE);
}

#[test]
fn the_body_is_reused_unless_somebody_still_reads_it() {
    let mut set = MessageSet::new();
    set.push_message(&[], &vec![counter("c"); 100]);
    let (mut lines, mut encoder) = (Lines::default(), Encoder::new(RULES));
    encoder.encode(&set, Place::default(), &mut lines);
    let before = lines.slice(&(0..100)).as_ptr();
    encoder.encode(&set, Place::default(), &mut lines);
    assert_eq!(lines.slice(&(0..100)).as_ptr(), before);
    let reader = lines.slice(&(0..1));
    encoder.encode(&set, Place::default(), &mut lines);
    assert_ne!(lines.slice(&(0..100)).as_ptr(), before);
    assert_eq!(reader, "c value=1.0 1\n");
}

#[test]
fn of_the_points_of_a_message_that_are_refused_some_are_told() {
    let mut set = MessageSet::new();
    let tags = |length: usize| [("t".to_owned(), "v".repeat(length))];
    set.push_message(&tags(70_000), &vec![counter("c"); 1000]);
    set.push_message(&tags(1), &[counter("c")]);
    set.push_message(&tags(70_000), &[counter(&"n".repeat(4 << 20))]);
    let (mut lines, mut encoder) = (Lines::default(), Encoder::new(RULES));
    assert_eq!(encoder.encode(&set, Place::default(), &mut lines), None);
    assert_eq!(lines.len(), 1);
    let refused = lines.take_refused();
    let of = |message| refused.iter().filter(|(_, refused)| refused.message == message).count();
    assert_eq!((of(0), of(1), of(2)), (crate::wire::MOST_REFUSALS + 1, 0, 1));
    assert!(refused.iter().all(|(_, refused)| refused.reason == Encoder::new(RULES).too_long() && refused.metric.as_ref().unwrap().len() < 1000));
    assert!(encoder.tags.capacity() < 4 * RULES.max_key);
}

/// What a line says: measurement, tags, fields, time.
type Read = (String, Vec<(String, String)>, Vec<(String, Value)>, i64);

/// Reads line protocol the way its specification tells, and shares nothing with the encoder.
struct Reader<'a>(std::iter::Peekable<std::str::Chars<'a>>);

impl Reader<'_> {
    /// Up to one of `ends`, which is left. A backslash escapes `special` only.
    fn word(&mut self, special: &str, ends: &str) -> String {
        let mut word = String::new();
        while let Some(c) = self.0.next_if(|c| !ends.contains(*c)) {
            match self.0.peek() {
                Some(next) if c == '\\' && special.contains(*next) => word.extend(self.0.next()),
                _ => word.push(c),
            }
        }
        word
    }

    fn value(&mut self) -> Value {
        if self.0.next_if_eq(&'"').is_some() {
            let text = self.word("\"\\", "\"");
            assert_eq!(self.0.next(), Some('"'));
            return Value::Text(text);
        }
        let word = self.word("", ", ");
        match word.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => match word.strip_suffix('i') {
                Some(int) => Value::Int(int.parse().unwrap()),
                None => Value::Float(word.parse().unwrap()),
            },
        }
    }

    fn line(&mut self) -> Read {
        let measurement = self.word(", ", ", ");
        let mut tags = Vec::new();
        while self.0.next_if_eq(&',').is_some() {
            let key = self.word(",= ", "=");
            self.0.next();
            tags.push((key, self.word(",= ", ", ")));
        }
        let mut fields = Vec::new();
        while matches!(self.0.peek(), Some(' ' | ',')) {
            if self.0.next() == Some(' ') && !fields.is_empty() {
                break;
            }
            let key = self.word(",= ", "=");
            self.0.next();
            fields.push((key, self.value()));
        }
        let time = self.word("", "\n").parse().unwrap();
        assert_eq!(self.0.next(), Some('\n'));
        (measurement, tags, fields, time)
    }
}

fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        r#"[a ,="\\\n#\t]{1,8}"#,
        // Of which many are stored alike.
        r"a(\n|\\n){1,2}\\? ?",
        "\\PC{1,12}",
        "[a-z]{1,5}",
        any::<String>().prop_filter("not empty", |text| !text.is_empty())
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        nasty().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn metric() -> impl Strategy<Value = Metric> {
    let value_of = any::<f64>().prop_filter("finite", |float| float.is_finite());
    // A field `time` is a dead letter beside the line.
    let key = prop_oneof![9 => nasty(), 1 => "value|unit"].prop_filter("not time", |key| key != "time");
    (nasty(), prop::option::of(nasty()), value_of, any::<i64>(), prop::collection::btree_map(key, value(), 0..4)).prop_map(
        |(name, unit, value, time, metadata)| Metric { name, unit, value, time, metadata: metadata.into_iter().collect() },
    )
}

/// The documented form in which a name, tag or key is stored.
fn stored(text: &str, is_measurement: bool) -> String {
    let text = text.replace('\n', "\\n");
    if is_measurement && text.starts_with(['#', '\t', '\0']) { format!("\\{text}") } else { text }
}

fn meant(dimensions: &[(String, String)], metric: &Metric) -> Read {
    let tag = |text: &String| stored(text, false) + if text.ends_with('\\') { " " } else { "" };
    // Of what is stored under one name the last, in the order of the names as they were.
    let is_last = |index: usize, name: &String| !dimensions.iter().skip(index + 1).any(|(other, _)| tag(other) == tag(name));
    let mut last: Vec<_> =
        dimensions.iter().enumerate().filter(|(index, (name, _))| is_last(*index, name)).map(|(_, pair)| pair).collect();
    last.sort();
    let tags = last.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (tag(name), tag(value))).collect();
    let mut fields = vec![("value".to_owned(), Value::Float(metric.value))];
    fields.extend(metric.unit.clone().map(|unit| ("unit".to_owned(), Value::Text(unit))));
    for (index, (key, value)) in metric.metadata.iter().enumerate() {
        let mut later = metric.metadata.iter().skip(index + 1);
        let is_the_metrics_own = key == "value" || key == "unit" && metric.unit.is_some();
        if !is_the_metrics_own && !later.any(|(other, _)| stored(other, false) == stored(key, false)) {
            fields.push((stored(key, false), value.clone()));
        }
    }
    (stored(&metric.name, true), tags, fields, metric.time)
}

proptest! {
    #[test]
    fn a_float_is_written_as_ryu_writes_it(
        value in prop_oneof![
            any::<f64>(),
            (-2_000_000_000_000_000_i64..2_000_000_000_000_000).prop_map(|whole| whole as f64),
            (-5_i64..6, 0_i32..19).prop_map(|(near, power)| 10_f64.powi(power) + near as f64),
            prop::sample::select(vec![0.0, -0.0, 1.0, 0.5, 1e15, -1e15, 1e16]),
        ].prop_filter("finite", |value| value.is_finite()),
    ) {
        let mut line = Vec::new();
        Number::default().float(&mut line, value);
        let mut ryu = ryu::Buffer::new();
        prop_assert_eq!(str::from_utf8(&line), Ok(ryu.format_finite(value)));
    }

    #[test]
    fn an_independent_reader_reads_what_was_meant(
        messages in prop::collection::vec((prop::collection::vec((nasty(), nasty()), 0..4), prop::collection::vec(metric(), 0..4)), 0..5)
    ) {
        let mut set = MessageSet::new();
        for (dimensions, metrics) in &messages {
            set.push_message(dimensions, metrics);
        }
        let lines = encode(&set);
        let refused: Vec<Place> = lines.refused.iter().map(|(place, _)| *place).collect();
        let mut expected = Vec::new();
        for (message, (dimensions, metrics)) in messages.iter().enumerate() {
            for (point, metric) in metrics.iter().enumerate() {
                if !refused.contains(&Place { message, point }) {
                    expected.push(meant(dimensions, metric));
                }
            }
        }
        let text = text(&lines);
        let mut reader = Reader(text.chars().peekable());
        let mut read = Vec::new();
        while reader.0.peek().is_some() {
            read.push(reader.line());
        }
        for (_, tags, fields, _) in &read {
            let names: std::collections::BTreeSet<_> = tags.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), tags.len(), "one tag twice in {}", text);
            let names: std::collections::BTreeSet<_> = fields.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), fields.len(), "one field twice in {}", text);
        }
        prop_assert_eq!(read, expected);
    }
}
