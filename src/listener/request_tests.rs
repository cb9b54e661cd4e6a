//! Requests in one piece and in many, good ones and others, and what they are answered.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Settings,
    fuzzing::{Talk, talk},
    session::Flow,
};

fn settings() -> Settings {
    Settings { queue_key: "q".to_owned(), max_message_bytes: 1000, max_arguments: 20, ..Settings::default() }
}

fn said(bytes: impl AsRef<[u8]>) -> Talk {
    talk(settings(), [bytes.as_ref()])
}

fn text(talk: &Talk) -> &str {
    std::str::from_utf8(&talk.answers).unwrap()
}

fn command<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut wire = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        wire.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        wire.extend_from_slice(word.as_ref());
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

#[test]
fn pushes_that_follow_each_other_are_one_push_and_answered_one_by_one() {
    let talk = said("LPUSH q a b\r\nlpush q c\r\nPING\r\nRPUSH q y\r\nRPUSH q z\r\nLPUSH q d\r\n");
    assert_eq!(text(&talk), ":2\r\n:3\r\n+PONG\r\n:4\r\n:5\r\n:6\r\n");
    assert_eq!(talk.groups, [3, 2, 1]);
    assert_eq!(talk.waiting, ["d", "c", "b", "a", "y", "z"].map(Bytes::from));
}

#[test]
fn no_more_pushes_are_gathered_than_are_worth_it() {
    let talk = said("LPUSH q a\r\n".repeat(1400));
    assert_eq!(talk.groups, [1000, 400]);
    let lengths: String = (1..=1400).map(|length| format!(":{length}\r\n")).collect();
    assert_eq!(text(&talk), lengths);
}

#[test]
fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let large = "x".repeat(1001);
    let wire = [command(&["LPUSH", "q", "a", &large, "b"]), command(&["LPUSH", "q", "fine"])].concat();
    let refused = "-ERR 1001 bytes are more than this Kadabra agent takes in one message, which is 1000; see max_message_bytes in \
                   [channel.embedded]\r\n:1\r\n";
    for size in [1, 7, 100, 5000] {
        let talk = talk(settings(), wire.chunks(size));
        assert_eq!((text(&talk), talk.end), (refused, Flow::Read), "in pieces of {size}");
        assert_eq!(talk.waiting, ["fine"]);
    }
}

#[test]
fn a_command_of_too_many_words_or_bytes_is_refused_and_the_connection_goes_on() {
    let many = command(&vec!["x"; 21]);
    let talk = said([&many[..], b"PING\r\n"].concat());
    assert!(text(&talk).starts_with("-ERR 21 words are more"), "{}", text(&talk));
    assert!(text(&talk).ends_with("\r\n+PONG\r\n"));

    let settings = Settings { max_waiting_bytes: 3500, ..settings() };
    let much = command(&["LPUSH", "q", &"x".repeat(900), &"x".repeat(900), &"x".repeat(900), &"x".repeat(900)]);
    let talk = super::fuzzing::talk(settings, [&much[..], b"PING\r\n"]);
    assert!(text(&talk).starts_with("-ERR all words of the command are more"), "{}", text(&talk));
    assert!(text(&talk).ends_with("\r\n+PONG\r\n") && talk.waiting.is_empty());
}

#[test]
fn what_is_refused_is_refused_with_its_transaction() {
    let large = command(&["LPUSH", "q", &"x".repeat(1001)]);
    for wrong in [b"NONSENSE\r\n".as_slice(), b"LPUSH q\r\n", &large] {
        let talk = said([b"MULTI\r\nLPUSH q a\r\n", wrong, b"LPUSH q b\r\nEXEC\r\nEXEC\r\n"].concat());
        let last: Vec<_> = text(&talk).lines().rev().take(3).collect();
        assert_eq!(last, ["-ERR EXEC without MULTI", "-EXECABORT Transaction discarded because of previous errors.", "+QUEUED"]);
        assert!(talk.waiting.is_empty());
    }
}

#[test]
fn a_transaction_is_one_push() {
    let talk = said("MULTI\r\nLPUSH q a\r\nLPUSH q b c\r\nLLEN q\r\nEXEC\r\nPING\r\n");
    assert_eq!(text(&talk), "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n:3\r\n:3\r\n+PONG\r\n");
    assert_eq!(talk.groups, [3]);
}

#[test]
fn the_deepest_nesting_is_no_nesting_at_all() {
    let talk = said("*1\r\n".repeat(100_000));
    assert_eq!((text(&talk), talk.end), ("-ERR Protocol error: expected '$', got '*'\r\n", Flow::Linger));
}

#[test]
fn announced_bytes_take_no_memory_until_they_come() {
    let settings = Settings { max_message_bytes: 4 << 20, ..Settings::default() };
    // It asserts by itself how large the buffer becomes; here it is not larger than at the beginning.
    let talk = talk(settings, [b"*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$4000000\r\n".as_slice(), &[b'x'; 100]]);
    assert_eq!((talk.answers.len(), talk.end), (0, Flow::Read));
}

#[test]
fn many_large_answers_wait_in_no_memory() {
    // INFO is a hundred times longer than its name.
    let talk = said("INFO\r\n".repeat(5000));
    assert!(talk.answers.len() > 2_000_000, "{}", talk.answers.len());
    let queued = "INFO\r\n".repeat(400);
    let talk = said(format!("MULTI\r\n{queued}EXEC\r\n"));
    assert!(text(&talk).contains("*400\r\n"));
}

#[test]
fn http_is_cut_off_without_an_answer() {
    for http in ["POST / HTTP/1.1\r\nHost: x\r\n", "*1\r\n$4\r\npost\r\n", "host: localhost\r\n"] {
        let talk = said(http);
        assert_eq!((text(&talk), talk.end), ("", Flow::Cut), "{http}");
    }
    let talk = said("GET /?LPUSH HTTP/1.1\r\nHost: localhost:6379\r\n\r\nLPUSH q a\r\n");
    assert_eq!(talk.end, Flow::Cut);
    assert!(talk.waiting.is_empty());
}

fn arbitrary_command() -> impl Strategy<Value = Vec<u8>> {
    let value = prop::collection::vec(any::<u8>(), 0..60);
    let large = prop::collection::vec(any::<u8>(), 900..1100);
    let word = prop::sample::select(vec![
        "LPUSH", "rpush", "LLEN", "LRANGE", "PING", "ECHO", "MULTI", "EXEC", "DISCARD", "CLIENT", "DEL", "SELECT", "COMMAND",
        "RESET", "BRPOP", "nonsense", "q", "0", "-1", "",
    ]);
    prop_oneof![
        8 => prop::collection::vec(value.clone(), 1..4).prop_map(|values| {
            let mut words = vec![b"LPUSH".to_vec(), b"q".to_vec()];
            words.extend(values);
            command(&words)
        }),
        1 => large.prop_map(|value| command(&[b"RPUSH".to_vec(), b"q".to_vec(), value])),
        4 => prop::collection::vec(word.clone(), 1..5).prop_map(|words| command(&words)),
        2 => prop::collection::vec(word, 0..5).prop_map(|words| format!("{}\r\n", words.join(" ")).into_bytes()),
        1 => value.prop_map(|value| command(&[b"ECHO".to_vec(), value])),
        1 => prop::sample::select(vec!["*0\r\n", "*-1\r\n", "\r\n", "\n", "*1\r\n$0\r\n\r\n", "'a b' \"\\x00\"\n"])
            .prop_map(|odd| odd.as_bytes().to_vec()),
    ]
}

proptest! {
    #[test]
    fn a_pipeline_is_answered_the_same_however_it_arrives(
        commands in prop::collection::vec(arbitrary_command(), 1..30),
        end in prop::sample::select(vec!["", "*a\r\n", "$5\r\n", "*2\r\n$4\r\nPING\r\n:3\r\n", "\"\r\n", "*1\r\n$-1\r\n"]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut wire = commands.concat();
        wire.extend_from_slice(end.as_bytes());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).chain([0, wire.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &wire[cut[0]..cut[1]]).collect();
        let whole = said(&wire);
        let cut = talk(settings(), pieces);
        let bytes = talk(settings(), wire.chunks(1));
        for other in [cut, bytes] {
            prop_assert_eq!(whole.answers.escape_ascii().to_string(), other.answers.escape_ascii().to_string());
            prop_assert_eq!(&whole.waiting, &other.waiting);
            prop_assert_eq!(whole.end, other.end);
        }
    }
}
