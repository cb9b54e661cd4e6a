//! The embedded channel: the queue in a file that outlives whatever happens to the agent.

#[path = "channel_embedded/consumers.rs"]
mod consumers;
#[path = "channel_embedded/damage.rs"]
mod damage;
#[path = "channel_embedded/files.rs"]
mod files;
#[path = "channel_embedded/formats.rs"]
mod formats;
#[path = "channel_embedded/full.rs"]
mod full;
#[path = "channel_embedded/kill.rs"]
mod kill;
#[path = "channel_embedded/letters.rs"]
mod letters;
#[path = "channel_embedded/list.rs"]
mod list;
#[path = "channel_embedded/model.rs"]
mod model;
#[path = "channel_embedded/restarts.rs"]
mod restarts;
#[path = "channel_embedded/salvage.rs"]
mod salvage;

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use kadabra::{
    channel::{
        Channel,
        embedded::{EmbeddedChannel, End},
    },
    config::{AnswerWithin, Durability, Embedded, WhenFull},
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::channel_contract::{Home, Kept, keeps_the_contract};

fn settings(path: &Path) -> Embedded {
    Embedded {
        path: path.to_owned(),
        durability: Durability::Process,
        max_bytes: 1 << 30,
        when_full: WhenFull::Refuse,
        answer_within: AnswerWithin::Unset,
        lease: Duration::from_secs(60),
        max_dead_letters: 10_000,
        max_message_bytes: 4 << 20,
        listen: Vec::new(),
        unix_socket: None,
        unix_socket_mode: 0o660,
        queue_key: "kadabra_queue".into(),
        password: None,
        allow_remote: false,
        allow_delete: false,
        max_connections: 10,
        idle_timeout: None,
        tcp_keepalive: None,
        max_waiting_bytes: 8 << 20,
    }
}

/// In memory where that can be had, for what opens many files: a sync costs nothing there.
fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(test)
}

async fn open(settings: &Embedded) -> EmbeddedChannel {
    let channel = EmbeddedChannel::new(settings, "here");
    channel.open().await.unwrap();
    channel
}

async fn push(channel: &EmbeddedChannel, messages: impl IntoIterator<Item = impl AsRef<[u8]>>) -> u64 {
    let messages = messages.into_iter().map(|message| Bytes::copy_from_slice(message.as_ref())).collect();
    channel.backend().push(End::Newest, messages).await.unwrap()
}

/// All that waits, from the newest on.
async fn waiting(channel: &EmbeddedChannel) -> Vec<Bytes> {
    channel.backend().range(0, -1).await.unwrap()
}

fn texts(messages: &[impl AsRef<[u8]>]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.as_ref().to_vec()).unwrap()).collect()
}

/// The contract's home.
struct Queue {
    folder: TempDir,
    first: EmbeddedChannel,
}

impl Home for Queue {
    fn new(lease: Duration, max_dead_letters: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Embedded { lease, max_dead_letters, ..settings(&folder.path().join("q.db")) };
        let first = EmbeddedChannel::new(&settings, "here");
        futures_util::FutureExt::now_or_never(first.open()).unwrap().unwrap();
        Self { folder, first }
    }

    fn channel(&self) -> Arc<dyn Channel> {
        Arc::new(self.first.beside("here"))
    }

    async fn push(&self, messages: Vec<Vec<u8>>) {
        push(&self.first, messages).await;
    }

    async fn waiting(&self) -> Vec<Vec<u8>> {
        waiting(&self.first).await.iter().map(|message| message.to_vec()).collect()
    }

    fn dead(&self) -> Vec<Kept> {
        dead_letters(self.folder.path(), "")
    }
}

fn dead_letters(folder: &Path, of: &str) -> Vec<Kept> {
    let connection = Connection::open(folder.join("q.db")).unwrap();
    let select = format!("SELECT payload, reason, refused, agent, time FROM dead {of} ORDER BY id");
    let mut letters = connection.prepare(&select).unwrap();
    let kept = |row: &rusqlite::Row<'_>| {
        Ok(Kept { payload: row.get(0)?, reason: row.get(1)?, refused: row.get(2)?, agent: row.get(3)?, time: row.get(4)? })
    };
    letters.query_map([], kept).unwrap().map(Result::unwrap).collect()
}

keeps_the_contract!(Queue);

/// Each of three consumers keeps the contract as the only one does, whatever the others have done or left undone.
mod one_of_several {
    use super::*;
    use crate::channel_contract::{ALL, NO_WAIT};

    struct OneOfSeveral {
        folder: TempDir,
        consumers: Vec<EmbeddedChannel>,
    }

    impl Home for OneOfSeveral {
        fn new(lease: Duration, max_dead_letters: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let settings = Embedded { lease, max_dead_letters, ..settings(&folder.path().join("q.db")) };
            let consumers = EmbeddedChannel::several(&settings, "here", ["a", "b", "c"].map(consumers::consumer).into());
            futures_util::FutureExt::now_or_never(consumers[0].open()).unwrap().unwrap();
            Self { folder, consumers }
        }

        fn channel(&self) -> Arc<dyn Channel> {
            Arc::new(self.consumers[1].beside("here"))
        }

        /// One of the others has it done at once, and the third not at all.
        async fn push(&self, messages: Vec<Vec<u8>>) {
            push(&self.consumers[0], messages).await;
            while let Some(lease) = self.consumers[0].receive(ALL, NO_WAIT).await.unwrap() {
                self.consumers[0].complete(&mut vec![lease], &[]).await.unwrap();
            }
        }

        async fn waiting(&self) -> Vec<Vec<u8>> {
            let channel = self.channel();
            let mut leases = Vec::new();
            while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                leases.push(lease);
            }
            let waiting = leases.iter().flat_map(|lease| lease.messages.to_vec()).rev().collect();
            channel.release(&mut leases).await.unwrap();
            waiting
        }

        fn dead(&self) -> Vec<Kept> {
            dead_letters(self.folder.path(), "WHERE consumer = 'b'")
        }
    }

    keeps_the_contract!(OneOfSeveral);
}
