//! Nothing comes from Redis that was not asked for: no answer without its question, none larger than what was asked for
//! can be. Whatever answers at that address, memory is bounded by what this agent asks.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::resp::{self, Excess, Scanner};

/// What any answer may cost: the longest, INFO, has 7 KB, and of lease names or numbers there are at most 1000.
const ORDINARY: usize = 1 << 20;

/// What the costliest answer that was ever asked for may cost, for all connections of a channel.
#[derive(Clone, Debug)]
pub(super) struct Limit(Arc<AtomicUsize>);

impl Limit {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(ORDINARY)))
    }

    /// A question is about to be asked whose answer may have so many values, with so many bytes in all.
    pub(super) fn expect(&self, values: usize, bytes: usize) {
        self.0.fetch_max(resp::cost(values, bytes), Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Traffic {
    limit: Limit,
    /// How many commands were sent whose answers have not begun.
    questions: AtomicUsize,
    /// Why it was cut.
    cut: OnceLock<Excess>,
}

impl Traffic {
    pub(super) fn new(limit: &Limit) -> Arc<Self> {
        Arc::new(Self { limit: limit.clone(), questions: AtomicUsize::new(0), cut: OnceLock::new() })
    }

    /// Why this connection was cut, if it was.
    pub(super) fn cut(&self) -> Option<Excess> {
        self.cut.get().copied()
    }

    /// Whoever has the connection for himself knows that no more answers will come, since some commands have none.
    pub(super) fn all_is_answered(&self) {
        self.questions.store(0, Ordering::Relaxed);
    }
}

/// A stream to Redis that breaks as soon as something comes that was not asked for.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    traffic: Arc<Traffic>,
    asked: Scanner,
    answered: Scanner,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic, asked: Scanner::default(), answered: Scanner::default() }
    }

    fn let_through(&mut self, arrived: &[u8]) -> Result<(), Excess> {
        let questions = &self.traffic.questions;
        let one_less = |open: usize| open.checked_sub(1);
        let begins = || questions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        let limit = self.traffic.limit.get();
        self.answered.scan(arrived, limit, begins)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        if guarded.traffic.cut().is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut guarded.stream).poll_read(cx, buffer))?;
            let arrived = buffer.filled().get(before..).unwrap_or_default();
            let Err(excess) = guarded.let_through(arrived) else { return Poll::Ready(Ok(())) };
            buffer.set_filled(before);
            let _ = guarded.traffic.cut.set(excess);
        }
        // An error of this kind ends the connection for all who use it. They are told why by what is kept of it.
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let guarded = self.get_mut();
        let written = ready!(Pin::new(&mut guarded.stream).poll_write(cx, bytes))?;
        // Counted when it begins: to a command that it will not read to its end Redis answers before that.
        let begins = || {
            guarded.traffic.questions.fetch_add(1, Ordering::Relaxed);
            true
        };
        let _ = guarded.asked.scan(bytes.get(..written).unwrap_or_default(), usize::MAX, begins);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    fn guarded() -> (Guarded<DuplexStream>, DuplexStream, Arc<Traffic>) {
        let (ours, theirs) = duplex(4096);
        let traffic = Traffic::new(&Limit::new());
        (Guarded::new(ours, Arc::clone(&traffic)), theirs, traffic)
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        actix_rt::System::new().block_on(test)
    }

    #[test]
    fn as_many_answers_come_through_as_were_asked_for() {
        run(async {
            let (mut ours, mut theirs, traffic) = guarded();
            ours.write_all(&PING[..5]).await.unwrap();
            ours.write_all(&PING[5..]).await.unwrap();
            ours.write_all(&PING.repeat(2)).await.unwrap();
            theirs.write_all(b"+1\r\n+2\r\n+3\r\n").await.unwrap();
            let mut answers = [0; 12];
            ours.read_exact(&mut answers).await.unwrap();
            assert_eq!(&answers, b"+1\r\n+2\r\n+3\r\n");
            theirs.write_all(b"+").await.unwrap();
            assert_eq!(ours.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(traffic.cut(), Some(Excess::Unasked));
            assert_eq!(ours.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted, "for good");
        });
    }

    #[test]
    fn commands_without_answers_leave_nothing_open() {
        run(async {
            let (mut ours, mut theirs, traffic) = guarded();
            ours.write_all(&PING.repeat(3)).await.unwrap();
            theirs.write_all(b"+1\r\n").await.unwrap();
            ours.read_exact(&mut [0; 4]).await.unwrap();
            traffic.all_is_answered();
            theirs.write_all(b"+").await.unwrap();
            ours.read_u8().await.unwrap_err();
            assert_eq!(traffic.cut(), Some(Excess::Unasked));
        });
    }

    #[test]
    fn an_endless_answer_is_cut_at_what_was_expected() {
        run(async {
            for (values, bytes) in [(0, 0), (500, 4 << 20)] {
                let (mut ours, mut theirs, traffic) = guarded();
                traffic.limit.expect(values, bytes);
                let limit = traffic.limit.get();
                assert!(limit >= bytes && limit <= bytes + ORDINARY);
                ours.write_all(PING).await.unwrap();
                let sent = actix_rt::spawn(async move {
                    let mut sent = 0;
                    while let Ok(count) = theirs.write(&[b'+'; 1024]).await {
                        sent += count;
                    }
                    sent
                });
                let mut came = 0;
                let mut buffer = [0; 4096];
                while let Ok(count) = ours.read(&mut buffer).await {
                    came += count;
                }
                drop(ours);
                let sent = sent.await.unwrap();
                assert!(
                    came <= limit && sent <= limit + 2 * 4096,
                    "{came} of {sent} bytes came through, with a limit of {limit}"
                );
                assert_eq!(traffic.cut(), Some(Excess::Large(limit)));
            }
        });
    }
}
