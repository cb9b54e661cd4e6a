//! A connection: reads as much as there is room for, sends answers together, and gives up on who keeps it waiting.

use std::{
    future::{Future, poll_fn},
    io,
    os::fd::AsFd,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::poll;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    cause::Cause,
    clients::Client,
    conversation::{Conversation, Room},
    listen,
    session::Flow,
    shared::Shared,
};

/// How long a client may still send after an error that ends the connection, so that it comes to read it.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may still send.
const LINGER_BYTES: usize = 64 << 20;

/// How much of a command must arrive within the patience of others who wait for its memory.
const PROGRESS: usize = 256 << 10;

/// Serves a client until it goes, must go, or `closing` comes.
pub(super) async fn serve<S>(stream: &mut S, shared: Arc<Shared>, client: &Arc<Client>, closing: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin,
{
    let limits = (shared.settings.timeout, shared.settings.idle_timeout, shared.settings.patience);
    let (request_timeout, idle_timeout, patience) = limits;
    let mut conversation = Conversation::new(Arc::clone(&shared), Arc::clone(client));
    let mut closing = pin!(closing);
    // Until when a push may come once `closing` has.
    let mut closed: Option<Instant> = None;
    // One timer, set anew only when it has run out, for what is rarely late.
    let mut alarm = pin!(sleep_until(Instant::now()));
    let mut alarmed = false;
    let cut = |cause| shared.refusals.note(cause, &client.peer);
    // Since when it is known that it has not said the password.
    let mut unauthenticated = Some(Instant::now());
    let mut heard;
    let mut waiting: Option<(u64, Instant)> = None;
    // What it has sent since when, while it has memory for which others may wait.
    let mut progress: Option<(Instant, usize)> = None;
    loop {
        let flow = conversation.answer().await;
        if client.is_cut_off() {
            return;
        }
        if closed.is_some() && conversation.has_pushed() {
            listen::send_with_the_end(stream);
        }
        if flow == Flow::Cut {
            return cut(Cause::Http);
        }
        if let Err(error) = send(stream, &mut conversation, request_timeout, patience).await {
            if error.kind() == io::ErrorKind::TimedOut {
                cut(Cause::SlowReader);
            }
            return;
        }
        heard = Instant::now();
        match flow {
            Flow::Continue | Flow::Send => continue,
            Flow::Read => {}
            Flow::Close | Flow::Cut => {
                drop(stream.shutdown().await);
                return;
            }
            Flow::Linger => {
                cut(Cause::Garbage);
                return linger(stream).await;
            }
        }
        match conversation.room().await {
            Room::AtOnce => {}
            // Its own time begins now.
            Room::Later => (heard, waiting, progress) = (Instant::now(), None, None),
            Room::None => {
                cut(Cause::NoMemory);
                conversation.no_room();
                return take_leave(stream, &mut conversation, request_timeout, patience).await;
            }
        }
        progress = conversation.holds().then(|| progress.unwrap_or((heard, 0)));
        waiting = match (conversation.partial(), waiting) {
            (None, _) => None,
            (Some(request), Some((same, since))) if request == same => Some((same, since)),
            // From when it is waited for: what was before may have taken long, and not by the client's fault.
            (Some(request), _) => Some((request, heard)),
        };
        unauthenticated = (!conversation.is_authenticated()).then(|| unauthenticated.unwrap_or(heard));
        if let Some(until) = closed {
            // The end comes with the answer to a push, so that the client sees it before it pushes again.
            let until = if conversation.has_pushed() { heard } else { until };
            match timeout_at(until, stream.read_buf(conversation.buffer())).await {
                Ok(Ok(read)) if read > 0 => continue,
                _ => {
                    drop(stream.shutdown().await);
                    return;
                }
            }
        }
        loop {
            let deadlines = [
                waiting.map(|(_, since)| (since + request_timeout, Cause::SlowCommand)),
                // What waits for EXEC takes memory that others lack, as a command does that has not arrived whole.
                conversation.transaction_since().map(|since| (since + request_timeout, Cause::OpenTransaction)),
                progress.map(|(since, _)| (since + patience, Cause::TooSlow)),
                idle_timeout.map(|idle| (heard + idle, Cause::Idle)),
                // A client that does not know the password has no reason to stay.
                unauthenticated.map(|since| (since + request_timeout, Cause::NoPassword)),
            ];
            let next = deadlines.into_iter().flatten().min();
            if let Some((deadline, _)) = next
                && (!alarmed || deadline < alarm.deadline())
            {
                alarm.as_mut().reset(deadline);
                alarmed = true;
            }
            tokio::select! {
                biased;
                read = stream.read_buf(conversation.buffer()) => match read {
                    Ok(read) if read > 0 => {
                        if let Some((_, bytes)) = &mut progress {
                            *bytes += read;
                        }
                        break;
                    }
                    _ => return,
                },
                () = &mut closing, if closed.is_none() => {
                    closed = Some(Instant::now() + shared.settings.last_push);
                    conversation.nears_its_end();
                    // Lets the reactor say what else has arrived.
                    tokio::task::yield_now().await;
                    break;
                }
                () = &mut alarm, if alarmed => {
                    alarmed = false;
                    let now = Instant::now();
                    match next.filter(|(deadline, _)| *deadline <= now) {
                        Some((_, Cause::TooSlow)) if is_fine(progress) || !conversation.keeps_others_waiting() => {
                            progress = Some((now, 0));
                        }
                        Some((_, Cause::TooSlow)) => {
                            cut(Cause::TooSlow);
                            conversation.too_slow();
                            return take_leave(stream, &mut conversation, request_timeout, patience).await;
                        }
                        Some((_, cause)) => return cut(cause),
                        None => {}
                    }
                }
            }
        }
        if client.is_cut_off() {
            // What it has sent meanwhile was not taken, and is not.
            return;
        }
        client.heard();
    }
}

/// Whether a client goes on quickly enough with a command for whose memory others wait.
fn is_fine(progress: Option<(Instant, usize)>) -> bool {
    progress.is_some_and(|(_, bytes)| bytes >= PROGRESS)
}

/// Sends the answers that wait, to a client that reads them. It may take `limit` for that, but not longer than the patience of
/// those who wait for memory that it has.
async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    conversation: &mut Conversation,
    limit: Duration,
    patience: Duration,
) -> io::Result<()> {
    let answers = conversation.answers();
    if answers.is_empty() {
        return Ok(());
    }
    let mut sending = pin!(stream.write_all(answers));
    // Most are sent at once, without a look at the clock.
    match poll!(sending.as_mut()) {
        Poll::Ready(sent) => sent?,
        Poll::Pending => {
            let end = Instant::now() + limit;
            loop {
                match timeout_at(end.min(Instant::now() + patience), sending.as_mut()).await {
                    Ok(sent) => break sent?,
                    Err(elapsed) if Instant::now() >= end || conversation.keeps_others_waiting() => return Err(elapsed.into()),
                    Err(_) => {}
                }
            }
        }
    }
    conversation.sent();
    Ok(())
}

/// Sends the last answer and closes so that the client can read it, although it is still sending. What it has of the memory
/// is given back before.
async fn take_leave<S>(stream: &mut S, conversation: &mut Conversation, limit: Duration, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    conversation.forget();
    if send(stream, conversation, limit, patience).await.is_ok() {
        linger(stream).await;
    }
}

/// Closes so that the client can read the last answer: a connection on which bytes still wait to be read would be reset, and
/// the answer lost with it.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    drop(stream.shutdown().await);
    let rest = async {
        let mut scratch = [0; 4096];
        let mut left = LINGER_BYTES;
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer)).await;
            let read = buffer.filled().len() + usize::from(read.is_err()) * left;
            match left.checked_sub(read) {
                Some(rest) if read > 0 && rest > 0 => left = rest,
                _ => return,
            }
        }
    };
    drop(timeout(LINGER, rest).await);
}
