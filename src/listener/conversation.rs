//! A client's conversation, without the connection it goes over: bytes in, answers out.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    cause::Cause,
    clients::Client,
    commands,
    decoder::{Decoder, Limits, Size},
    memory::OWN,
    pending::Transaction,
    request::{Arrived, Oversized, Request},
    session::{Flow, Session},
    shared::Shared,
};

/// Whether there is room for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    AtOnce,
    /// After others had given memory back.
    Later,
    None,
}

/// A session and the bytes that arrive for it.
#[derive(Debug)]
pub(super) struct Conversation {
    decoder: Decoder,
    session: Session,
    limits: Limits,
    /// How large the buffer is.
    allocated: usize,
    /// How many requests there were.
    requests: u64,
}

impl Conversation {
    pub(super) fn new(shared: Arc<Shared>, client: Arc<Client>) -> Self {
        let limits = Limits {
            argument_bytes: shared.settings.max_message_bytes,
            arguments: shared.settings.max_arguments,
            request_bytes: shared.settings.max_waiting_bytes,
        };
        Self { decoder: Decoder::default(), session: Session::new(shared, client), limits, allocated: 0, requests: 0 }
    }

    /// Where to put what arrives, at the end.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.decoder.buffer()
    }

    /// Whether a part of a request is there, and how many were there before it.
    pub(super) fn partial(&self) -> Option<u64> {
        self.decoder.is_partial().then_some(self.requests)
    }

    /// Since when commands wait for EXEC.
    pub(super) fn transaction_since(&self) -> Option<Instant> {
        self.session.transaction.as_ref().and_then(Transaction::since)
    }

    /// Whether the client may do anything yet.
    pub(super) fn is_authenticated(&self) -> bool {
        self.session.authenticated
    }

    /// Whether a push was answered, since [`Conversation::nears_its_end`] if that was called.
    pub(super) fn has_pushed(&self) -> bool {
        self.session.has_pushed
    }

    /// One more push is answered, if it comes in time.
    pub(super) fn nears_its_end(&mut self) {
        self.session.has_pushed = false;
    }

    /// The answers that are to be sent.
    pub(super) fn answers(&self) -> &[u8] {
        self.session.replies.bytes()
    }

    /// They are sent.
    pub(super) fn sent(&mut self) {
        self.session.replies.sent(OWN);
        self.session.give_back();
    }

    /// Answers what is there, up to where enough answers wait.
    pub(super) async fn answer(&mut self) -> Flow {
        loop {
            if self.session.replies.len() >= OWN {
                self.session.flush().await;
                return Flow::Send;
            }
            let flow = match self.session.replay.pop_front() {
                Some(request) => run(&mut self.session, &request).await,
                None => {
                    if self.session.is_replaying() {
                        // What EXEC has pushed is one push, whatever comes after it; until then it takes its memory.
                        self.session.flush().await;
                        self.session.replay_bytes = 0;
                        // Its answers may be many.
                        continue;
                    }
                    match self.decoder.next(&self.limits, self.session.authenticated) {
                        Ok(Some(arrived)) => self.take(arrived).await,
                        Ok(None) => Flow::Read,
                        Err(malformed) => {
                            self.session.flush().await;
                            self.session.replies.error(malformed.error());
                            return Flow::Linger;
                        }
                    }
                }
            };
            if flow != Flow::Continue {
                self.session.flush().await;
                self.give_back();
                return flow;
            }
        }
    }

    /// Gives back what only the last command took, before others are kept waiting by a client that does not read its answer.
    fn give_back(&mut self) {
        if self.allocated > OWN && self.decoder.buffer().len() < OWN {
            self.reallocate(OWN);
        }
        self.session.incoming = self.allocated + self.decoder.overhead();
        self.session.give_back();
    }

    async fn take(&mut self, arrived: Arrived) -> Flow {
        self.requests += 1;
        self.session.shared.stats.command();
        match arrived {
            Arrived::Request(request) => {
                self.session.incoming = self.allocated + request.overhead();
                self.session.alone = self.allocated > OWN && request.frame.len() * 8 >= self.allocated * 7;
                let flow = run(&mut self.session, &request).await;
                self.decoder.reuse(request);
                if self.session.incoming == 0 {
                    let here = self.decoder.buffer().len();
                    self.reallocate(OWN.max(here));
                }
                flow
            }
            Arrived::Oversized(oversized) => refuse_oversized(&mut self.session, oversized).await,
        }
    }

    /// Makes room for what comes next. What is announced need not come, so nothing is claimed for it before as much has
    /// arrived as takes no memory of others; then all that the command takes, if that is known, and otherwise in steps.
    pub(super) async fn room(&mut self) -> Room {
        let size = self.decoder.size(&self.limits);
        let buffer = self.decoder.buffer();
        let here = buffer.len();
        if here < OWN {
            let large = self.allocated > OWN;
            if large || (buffer.capacity() < OWN && !buffer.try_reclaim(OWN - here)) {
                self.reallocate(OWN);
            }
            return self.cover(self.allocated, false).await;
        }
        if here < buffer.capacity() {
            return self.cover(self.allocated, false).await;
        }
        let Size { bytes, is_known } = size;
        if buffer.try_reclaim(bytes - here) {
            return self.cover(self.allocated, false).await;
        }
        let room = self.cover(bytes, is_known).await;
        if room != Room::None {
            self.reallocate(bytes);
        }
        room
    }

    fn reallocate(&mut self, bytes: usize) {
        let mut new = BytesMut::with_capacity(bytes);
        new.extend_from_slice(self.decoder.buffer());
        *self.decoder.buffer() = new;
        self.allocated = bytes;
    }

    /// Claims what there will be with a buffer of so many bytes, in which a command is whole or not.
    async fn cover(&mut self, buffer: usize, is_whole: bool) -> Room {
        let session = &mut self.session;
        session.incoming = buffer + self.decoder.overhead();
        let held = session.held();
        if session.claim.suffices(held) {
            return Room::AtOnce;
        }
        let patience = session.shared.settings.timeout;
        if !session.claim.may_have(held)
            && let Some(transaction) = &mut session.transaction
        {
            transaction.outgrow();
        }
        let held = session.held();
        let had = match session.transaction {
            None if is_whole => session.claim.whole(held, patience).await,
            _ => session.claim.in_turn(held, patience).await,
        };
        if had { Room::Later } else { Room::None }
    }

    /// Says that there was no room.
    pub(super) fn no_room(&mut self) {
        let error = "ERR this Kadabra agent has no memory for such a large command now, since others have it; try again later";
        self.session.replies.error(error);
    }

    /// Says that others got its memory.
    pub(super) fn too_slow(&mut self) {
        let error =
            "ERR this Kadabra agent gave the memory for this command to others, since hardly any more of it came; send it again";
        self.session.replies.error(error);
    }

    /// Forgets what has arrived, since the connection ends, and gives its memory back.
    pub(super) fn forget(&mut self) {
        self.decoder = Decoder::default();
        self.session.transaction = None;
        self.allocated = 0;
        self.give_back();
    }

    /// Whether others may have to wait for memory that this client has.
    pub(super) fn holds(&self) -> bool {
        self.session.claim.holds()
    }

    /// Whether others wait for memory that this client has.
    pub(super) fn keeps_others_waiting(&self) -> bool {
        self.session.claim.holds() && self.session.shared.memory.is_wanted()
    }
}

/// Runs a command, whose answer must find memory.
async fn run(session: &mut Session, request: &Request) -> Flow {
    session.begun = session.replies.len();
    let flow = commands::run(session, request).await;
    if session.replies.capacity() > 2 * OWN && !session.afford(0) {
        session.replies.truncate(session.begun);
        session.lacks_memory();
        session.replies.error("ERR the agent has no memory for this answer now; try again later");
    }
    flow
}

/// Refuses what was larger than allowed.
async fn refuse_oversized(session: &mut Session, oversized: Oversized) -> Flow {
    let settings = &session.shared.settings;
    let sentence = match oversized {
        _ if !session.authenticated => commands::NO_PASSWORD.to_owned(),
        Oversized::Argument(bytes) => format!(
            "ERR {bytes} bytes are more than this Kadabra agent takes in one message, which is {}; see max_message_bytes in \
             [channel.embedded]",
            settings.max_message_bytes
        ),
        Oversized::Arguments(count) => format!(
            "ERR {count} words are more than this Kadabra agent takes in one command, which is {}; send fewer messages in one",
            settings.max_arguments
        ),
        Oversized::Request => format!(
            "ERR all words of the command are more than this Kadabra agent takes at once, which is {} bytes; send fewer \
             messages in one, or see max_waiting_bytes in [channel.embedded]",
            settings.max_waiting_bytes
        ),
    };
    session.note(Cause::TooLarge);
    session.refuse(sentence).await
}
