//! A connection: reads as much as there is room for, sends answers together, and gives up on who keeps it waiting.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::poll;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Instant, sleep_until, timeout},
};

use super::{
    clients::Client,
    session::{Conversation, Flow},
    shared::Shared,
};
use crate::channel::embedded::cause::Cause;

/// How long a client may still send after an error that ends the connection, so that it comes to read it.
const LINGER: Duration = Duration::from_secs(1);
/// How much it may still send.
const LINGER_BYTES: usize = 64 << 20;

/// Serves a client until it goes, must go, or `closing` comes.
pub(super) async fn serve<S>(stream: &mut S, shared: Arc<Shared>, client: &Arc<Client>, closing: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = (shared.settings.timeout, shared.settings.idle_timeout, shared.settings.patience);
    let (request_timeout, idle_timeout, patience) = limits;
    let mut conversation = Conversation::new(Arc::clone(&shared), Arc::clone(client));
    let mut closing = pin!(closing);
    let mut closed = false;
    // One timer, set anew only when it has run out, for what is rarely late.
    let mut alarm = pin!(sleep_until(Instant::now()));
    let mut alarmed = false;
    let cut = |cause| shared.refusals.note(cause, &client.peer);
    // Since when it is known that it has not said the password.
    let mut stranger = Some(Instant::now());
    let mut heard;
    let mut waiting: Option<(u64, Instant)> = None;
    loop {
        let flow = conversation.answer().await;
        if flow == Flow::Cut {
            return cut(Cause::Http);
        }
        if let Err(error) = send(stream, &mut conversation, request_timeout).await {
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
        if !conversation.room(patience).await {
            conversation.no_room();
            cut(Cause::NoMemory);
            if send(stream, &mut conversation, request_timeout).await.is_ok() {
                linger(stream).await;
            }
            return;
        }
        waiting = match (conversation.partial(), waiting) {
            (None, _) => None,
            (Some(request), Some((same, since))) if request == same => Some((same, since)),
            // From when it is waited for: what was before may have taken long, and not by the client's fault.
            (Some(request), _) => Some((request, heard)),
        };
        stranger = (!conversation.is_authenticated()).then(|| stranger.unwrap_or(heard));
        if closed {
            // Only what has arrived already.
            match read_now(stream, &mut conversation).await {
                Some(read) if read > 0 => continue,
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
                idle_timeout.map(|idle| (heard + idle, Cause::Idle)),
                // Whoever does not know the password has no reason to stay.
                stranger.map(|since| (since + request_timeout, Cause::NoPassword)),
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
                    Ok(read) if read > 0 => break,
                    _ => return,
                },
                () = &mut closing, if !closed => {
                    closed = true;
                    // Lets the reactor say what else has arrived.
                    tokio::task::yield_now().await;
                    if read_now(stream, &mut conversation).await.is_none_or(|read| read == 0) {
                        drop(stream.shutdown().await);
                        return;
                    }
                    break;
                }
                () = &mut alarm, if alarmed => {
                    alarmed = false;
                    if let Some((_, cause)) = next.filter(|(deadline, _)| *deadline <= Instant::now()) {
                        return cut(cause);
                    }
                }
            }
        }
        client.heard();
    }
}

/// Sends the answers that wait, to a client that reads them.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, conversation: &mut Conversation, patience: Duration) -> io::Result<()> {
    let answers = conversation.answers();
    if answers.is_empty() {
        return Ok(());
    }
    let mut sending = pin!(stream.write_all(answers));
    // Most are sent at once, without a look at the clock.
    match poll!(sending.as_mut()) {
        Poll::Ready(sent) => sent?,
        Poll::Pending => timeout(patience, sending).await??,
    }
    conversation.sent();
    Ok(())
}

/// Reads what has arrived, without waiting.
async fn read_now<S: AsyncRead + Unpin>(stream: &mut S, conversation: &mut Conversation) -> Option<usize> {
    let mut read = pin!(stream.read_buf(conversation.buffer()));
    poll_fn(|context| match read.as_mut().poll(context) {
        Poll::Ready(Ok(read)) => Poll::Ready(Some(read)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
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
