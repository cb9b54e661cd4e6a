//! What no bytes of a client can do; see [`crate::fuzzing`].

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use slog::{Discard, Logger, o};

use super::{
    clients::Clients,
    conversation::{Conversation, Room},
    memory::OWN,
    refusals::Refusals,
    session::Flow,
    settings::Settings,
    shared::Shared,
    unauthenticated::Origin,
};
use crate::{config::Secret, listener::test_server::Queue};

/// The first byte chooses how a client is treated and into which pieces the others are cut.
pub(crate) fn resp(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let settings = || Settings {
        password: (choice & 1 == 1).then(|| Secret::new("secret")),
        allow_delete: choice & 2 == 2,
        queue_key: "q".to_owned(),
        max_message_bytes: 2000,
        max_arguments: 40,
        max_waiting_bytes: 40 << 10,
        wrong_password_pause: Duration::ZERO,
        ..Settings::default()
    };
    let whole = talk(settings(), [bytes]);
    let cut = talk(settings(), bytes.chunks(1 + usize::from(choice >> 2)));
    assert_eq!(whole.end, cut.end);
    assert_eq!(whole.waiting, cut.waiting, "the pieces queued something else");
    assert_eq!(without_digits(&whole.answers), without_digits(&cut.answers), "the pieces were answered otherwise");
    assert!(whole.waiting.iter().map(Bytes::len).sum::<usize>() <= bytes.len(), "more was queued than was sent");
    well_formed(&whole.answers);
}

/// What came of a conversation.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) answers: Vec<u8>,
    /// How the connection ended; `Read` when it has not.
    pub(super) end: Flow,
    /// What waits in the queue, the newest first.
    pub(super) waiting: Vec<Bytes>,
    /// How many messages came with each push to the backend.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it"))]
    pub(super) groups: Vec<usize>,
}

/// Has a client say something in pieces, each of which arrives as far as there is room.
pub(super) fn talk<'a>(settings: Settings, pieces: impl IntoIterator<Item = &'a [u8]>) -> Talk {
    let queue = Arc::new(Queue::default());
    let most = settings.max_waiting_bytes + 2 * OWN;
    let silence = Logger::root(Discard, o!());
    let refusals = Arc::new(Refusals::new(&settings, &silence));
    let shared = Arc::new(Shared::new(settings, Arc::clone(&queue) as Arc<_>, refusals, silence));
    let connected = Arc::new(Clients::default()).welcome("peer".to_owned(), Origin::Others, "here".to_owned(), None);
    let mut conversation = Conversation::new(Arc::clone(&shared), Arc::clone(&connected.client));
    let mut answers = Vec::new();
    let mut end = Flow::Read;
    'all: for mut piece in pieces {
        while !piece.is_empty() {
            // Alone, it never has to wait for memory.
            if matches!(conversation.room().now_or_never(), None | Some(Room::None)) {
                conversation.no_room();
                end = Flow::Linger;
            } else {
                let buffer = conversation.buffer();
                let (now, later) = piece.split_at((buffer.capacity() - buffer.len()).min(piece.len()));
                assert!(!now.is_empty(), "room is room for nothing");
                buffer.extend_from_slice(now);
                piece = later;
                assert!(buffer.capacity() <= most, "the buffer takes {} bytes", buffer.capacity());
                loop {
                    end = conversation.answer().now_or_never().unwrap_or(Flow::Cut);
                    answers.extend_from_slice(conversation.answers());
                    conversation.sent();
                    if end != Flow::Send {
                        break;
                    }
                }
            }
            answers.extend_from_slice(conversation.answers());
            conversation.sent();
            if end != Flow::Read {
                break 'all;
            }
        }
    }
    assert!(shared.memory.used() <= shared.settings.max_waiting_bytes);
    drop(conversation);
    assert_eq!(shared.memory.used(), 0, "memory did not come back");
    Talk { answers, end, waiting: queue.waiting(), groups: queue.groups() }
}

/// Every answer is one that a client can read.
fn well_formed(answers: &[u8]) {
    let mut rest = answers;
    let mut parser = redis::Parser::new();
    while !rest.is_empty() {
        if let Err(error) = parser.parse_value(&mut rest as &mut dyn io::Read) {
            assert!(!matches!(error.kind(), redis::ErrorKind::Parse), "{error}: {}", answers.escape_ascii());
        }
    }
}

/// Times and what depends on them differ.
fn without_digits(answers: &[u8]) -> Vec<u8> {
    let mut without = answers.to_vec();
    without.retain(|byte| !byte.is_ascii_digit());
    without
}
