//! Questions to Redis over one connection, asked by many at once, each with the [`Budget`] of its answers.
//!
//! Nothing comes from Redis that was not asked for: no answer without its question, none larger than what was asked for can be. Whatever
//! answers at that address, and whichever way leads there, memory is bounded by what this agent asks.

use std::{
    collections::VecDeque,
    io,
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures_util::future::{Either, select};
use redis::{RedisError, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    client::lock,
    failure::Failure,
    resp::{Budget, Decoder, Excess},
    stream::Stream,
};

/// What is read or written at once. Larger than the longest line.
const BUFFER: usize = 64 << 10;

/// How long it is still read where nothing can be written any more, since what came last may say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Asks on one connection, until that ends.
#[derive(Clone)]
pub(super) struct Questions {
    asked: mpsc::UnboundedSender<Question>,
    end: Arc<OnceLock<End>>,
}

/// Why a connection has ended.
#[derive(Clone)]
enum End {
    Cut(Excess),
    Lost(RedisError),
}

impl From<End> for Failure {
    fn from(end: End) -> Self {
        match end {
            End::Cut(excess) => Self::Cut(excess),
            End::Lost(error) => Self::Redis(error),
        }
    }
}

struct Question {
    commands: Vec<u8>,
    open: Open,
}

/// A question that has been asked and not, or not wholly, answered.
struct Open {
    answers: Vec<Value>,
    count: usize,
    budget: Budget,
    asker: oneshot::Sender<Vec<Value>>,
}

impl Questions {
    /// Asks over a stream, for as long as the future runs.
    pub(super) fn over(stream: Stream) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (asked, questions) = mpsc::unbounded_channel();
        let end = Arc::new(OnceLock::new());
        let ended = Arc::clone(&end);
        let conversation = async move {
            let (from, to) = split(stream);
            let open = Mutex::new(VecDeque::new());
            // A question is open before its answer can come: what is sent comes first.
            let (sending, receiving) = (pin!(send(to, questions, &open)), pin!(receive(from, &open)));
            let why = match select(sending, receiving).await {
                Either::Right((why, _)) => why,
                Either::Left((Err(error), receiving)) => {
                    timeout(LAST_WORDS, receiving).await.unwrap_or_else(|_| End::Lost(error.into()))
                }
                Either::Left((Ok(()), _)) => return,
            };
            // Before those who wait are told by the end of what they wait for.
            let _ = ended.set(why);
        };
        (Self { asked, end }, conversation)
    }

    /// Sends commands that have so many answers, which may take so much in all.
    pub(super) async fn ask(&self, commands: Vec<u8>, count: usize, budget: Budget) -> Result<Vec<Value>, Failure> {
        let (asker, answered) = oneshot::channel();
        let open = Open { answers: Vec::with_capacity(count), count, budget, asker };
        let _ = self.asked.send(Question { commands, open });
        answered.await.map_err(|_| self.end.get().cloned().unwrap_or_else(closed).into())
    }
}

async fn send(
    mut to: WriteHalf<Stream>,
    mut questions: mpsc::UnboundedReceiver<Question>,
    open: &Mutex<VecDeque<Open>>,
) -> io::Result<()> {
    while let Some(question) = questions.recv().await {
        let mut commands = question.commands;
        lock(open).push_back(question.open);
        // Those that have come meanwhile go with it.
        while commands.len() < BUFFER
            && let Ok(question) = questions.try_recv()
        {
            commands.extend_from_slice(&question.commands);
            lock(open).push_back(question.open);
        }
        to.write_all(&commands).await?;
        to.flush().await?;
    }
    Ok(())
}

/// Returns why there is no more.
async fn receive(mut from: ReadHalf<Stream>, open: &Mutex<VecDeque<Open>>) -> End {
    let mut buffer = vec![0; BUFFER];
    let (mut filled, mut decoder) = (0, Decoder::default());
    loop {
        match from.read(buffer.get_mut(filled..).unwrap_or_default()).await {
            Ok(0) => return closed(),
            Ok(count) => filled += count,
            Err(error) => return End::Lost(error.into()),
        }
        let mut bytes = buffer.get(..filled).unwrap_or_default();
        while !bytes.is_empty() {
            match answer(&mut bytes, &mut decoder, &mut lock(open)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(excess) => return End::Cut(excess),
            }
        }
        let left = bytes.len();
        buffer.copy_within(filled - left..filled, 0);
        filled = left;
    }
}

/// Goes on with the answer to the oldest question. Returns whether it is whole.
fn answer(bytes: &mut &[u8], decoder: &mut Decoder, open: &mut VecDeque<Open>) -> Result<bool, Excess> {
    let oldest = open.front_mut().ok_or(Excess::Unasked)?;
    let Some(value) = decoder.decode(bytes, &mut oldest.budget)? else { return Ok(false) };
    oldest.answers.push(value);
    if oldest.answers.len() == oldest.count
        && let Some(Open { answers, asker, .. }) = open.pop_front()
    {
        // Whoever asked may have gone.
        let _ = asker.send(answers);
    }
    Ok(true)
}

fn closed() -> End {
    End::Lost(io::Error::from(io::ErrorKind::BrokenPipe).into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        actix_rt::System::new().block_on(test)
    }

    fn asking() -> (Questions, DuplexStream) {
        let (ours, theirs) = duplex(4096);
        let (questions, conversation) = Questions::over(Box::new(ours));
        actix_rt::spawn(conversation);
        (questions, theirs)
    }

    async fn excess(questions: &Questions) -> Excess {
        match questions.ask(b"?".to_vec(), 1, Budget::ORDINARY).await {
            Err(Failure::Cut(excess)) => excess,
            Err(_) => panic!("it ended otherwise"),
            Ok(answers) => panic!("it was answered: {answers:?}"),
        }
    }

    #[test]
    fn each_asker_has_the_answers_to_its_question() {
        run(async {
            let (questions, mut theirs) = asking();
            let ask = |what: &str, count| questions.ask(what.as_bytes().to_vec(), count, Budget::ORDINARY);
            let answering = async {
                let mut asked = [0; 6];
                theirs.read_exact(&mut asked).await.unwrap();
                assert_eq!(&asked, b"abbccc");
                for piece in b":1\r\n:2\r\n:3\r\n$3\r\nxyz\r\n".chunks(3) {
                    theirs.write_all(piece).await.unwrap();
                }
            };
            let (one, two, three, ()) = tokio::join!(ask("a", 1), ask("bb", 2), ask("ccc", 1), answering);
            assert_eq!(one.ok(), Some(vec![Value::Int(1)]));
            assert_eq!(two.ok(), Some(vec![Value::Int(2), Value::Int(3)]));
            assert_eq!(three.ok(), Some(vec![Value::BulkString(b"xyz".to_vec())]));
            drop(theirs);
            let error = ask("d", 1).await.err().unwrap();
            assert!(matches!(error, Failure::Redis(error) if error.is_connection_dropped()));
        });
    }

    #[test]
    fn an_answer_to_nothing_ends_the_connection() {
        run(async {
            for asked in [0, 1] {
                let (questions, mut theirs) = asking();
                if asked == 1 {
                    theirs.write_all(b"").await.unwrap();
                    let answer = async { theirs.write_all(b"+OK\r\n+").await.unwrap() };
                    let (answers, ()) = tokio::join!(questions.ask(b"a".to_vec(), 1, Budget::ORDINARY), answer);
                    assert_eq!(answers.ok(), Some(vec![Value::Okay]));
                } else {
                    tokio::task::yield_now().await;
                    theirs.write_all(b"+").await.unwrap();
                }
                questions.asked.closed().await;
                assert_eq!(excess(&questions).await, Excess::Unasked);
                assert_eq!(excess(&questions).await, Excess::Unasked, "for good");
            }
        });
    }

    #[test]
    fn an_endless_answer_is_cut_at_what_that_question_allows() {
        run(async {
            for (values, bytes) in [(0, 0), (500, 4 << 20)] {
                let (questions, mut theirs) = asking();
                let flood = actix_rt::spawn(async move {
                    theirs.read_u8().await.unwrap();
                    theirs.write_all(b"*500\r\n").await.unwrap();
                    let (message, mut sent) = ([&b"$65536\r\n"[..], &[b'x'; 65536], b"\r\n"].concat(), 0);
                    while let Ok(count) = theirs.write(&message[sent % message.len()..]).await {
                        sent += count;
                    }
                    sent
                });
                let budget = Budget::of(values, bytes);
                let outcome = questions.ask(b"?".to_vec(), 1, budget).await;
                assert!(matches!(outcome, Err(Failure::Cut(Excess::Large(limit))) if limit >= bytes));
                let sent = flood.await.unwrap();
                assert!(sent <= bytes.max(1 << 20) + BUFFER + 4096, "{sent} bytes could be sent where {bytes} were asked for");
            }
        });
    }
}
