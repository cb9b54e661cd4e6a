//! How fast the embedded channel takes messages in and gives them out, what memory that takes, and how soon a long queue is
//! open. Prints one line a question; not Criterion's kind of measurement, since each is about a file and its threads.
//!
//! `cargo bench --bench queue -- MESSAGES FOLDER`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kadabra::{
    channel::{
        Channel, Demand,
        embedded::{EmbeddedChannel, End},
    },
    config::{Durability, Embedded},
};

const MESSAGE: usize = 909;
const DEMAND: Demand = Demand { messages: 10_000, bytes: 4 << 20, not_before: None };

fn settings(path: &Path, durability: Durability) -> Embedded {
    Embedded {
        path: path.to_owned(),
        durability,
        max_bytes: 8 << 30,
        when_full: kadabra::config::WhenFull::Refuse,
        answer_within: kadabra::config::AnswerWithin::Unset,
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
        max_connections: 1000,
        idle_timeout: None,
        tcp_keepalive: None,
        max_waiting_bytes: 8 << 20,
    }
}

fn megabytes(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Pushes so many messages, one each, from so many clients at once. Returns the median time of one, and the longest.
async fn push(channel: &EmbeddedChannel, messages: usize, clients: usize) -> (Duration, Duration) {
    let message = Bytes::from(vec![b'x'; MESSAGE]);
    let pushing = (0..clients).map(|_| {
        let (backend, message) = (channel.backend(), message.clone());
        actix_rt::spawn(async move {
            let (mut some, mut longest) = (Vec::new(), Duration::ZERO);
            for n in 0..messages / clients {
                let start = Instant::now();
                backend.push(End::Newest, vec![message.clone()]).await.unwrap();
                longest = longest.max(start.elapsed());
                if n % 100 == 0 {
                    some.push(start.elapsed());
                }
            }
            (some, longest)
        })
    });
    let times: Vec<_> = futures_util::future::join_all(pushing).await.into_iter().map(Result::unwrap).collect();
    let longest = times.iter().map(|(_, longest)| *longest).max().unwrap();
    let mut some: Vec<_> = times.into_iter().flat_map(|(some, _)| some).collect();
    some.sort();
    (*some.get(some.len() / 2).unwrap(), longest)
}

async fn drain(channel: &EmbeddedChannel) -> usize {
    let mut messages = 0;
    while let Some(lease) = channel.receive(DEMAND, Duration::ZERO).await.unwrap() {
        messages += lease.messages.len();
        channel.complete(&mut vec![lease], &[]).await.unwrap();
    }
    messages
}

async fn measured<T>(what: &str, messages: usize, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = work.await;
    let taken = start.elapsed();
    println!(
        "{what}: {:.0} messages/s ({taken:.2?}), {} MiB resident",
        messages as f64 / taken.as_secs_f64(),
        megabytes("VmRSS")
    );
    done
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let messages: usize = arguments.next().map_or(200_000, |count| count.parse().unwrap());
    let folder: PathBuf = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    let path = folder.path().join("queue.db");
    let open = |durability| {
        let channel = EmbeddedChannel::new(&settings(&path, durability), "bench");
        let start = Instant::now();
        let said = actix_rt::System::new().block_on(channel.open()).unwrap();
        println!("open after {:.2?}: {said}", start.elapsed());
        channel
    };
    let run = |work: &mut dyn FnMut() -> std::pin::Pin<Box<dyn Future<Output = ()>>>| actix_rt::System::new().block_on(work());
    for (durability, clients) in
        [(Durability::Process, 1), (Durability::Process, 100), (Durability::Fsync, 1), (Durability::Fsync, 100)]
    {
        let channel = Arc::new(open(durability));
        let messages =
            if durability == Durability::Fsync { 2000 * clients.min(10) } else { messages / (101 - clients).clamp(1, 10) };
        run(&mut || {
            let channel = Arc::clone(&channel);
            Box::pin(async move {
                let what = format!("{durability:?}, {clients} clients push one each");
                let (median, longest) = measured(&what, messages, push(&channel, messages, clients)).await;
                println!("  one push: {median:.2?} in the middle, {longest:.2?} at most");
                measured("  drained", messages, drain(&channel)).await;
            })
        });
    }
    let channel = Arc::new(open(Durability::Process));
    run(&mut || {
        let channel = Arc::clone(&channel);
        Box::pin(async move {
            measured("a backlog of small chunks, 4 clients", messages, push(&channel, messages, 4)).await;
        })
    });
    drop(channel);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len() >> 20;
    println!("the file has {} MiB", size(&path));
    let channel = Arc::new(open(Durability::Process));
    run(&mut || {
        let channel = Arc::clone(&channel);
        Box::pin(async move {
            measured("drained", messages, drain(&channel)).await;
            measured("pushed by 1000 in messages of 10", messages, async {
                let message = Bytes::from(vec![b'x'; MESSAGE]);
                let pushing = (0..1000).map(|_| {
                    let (backend, message) = (channel.backend(), message.clone());
                    actix_rt::spawn(async move {
                        for _ in 0..messages / 10_000 {
                            backend.push(End::Newest, vec![message.clone(); 10]).await.unwrap();
                        }
                    })
                });
                futures_util::future::join_all(pushing).await;
            })
            .await;
        })
    });
    drop(channel);
    println!("the file has {} MiB", size(&path));
    let channel = Arc::new(open(Durability::Process));
    run(&mut || {
        let channel = Arc::clone(&channel);
        Box::pin(async move {
            measured("drained", messages, drain(&channel)).await;
            measured("pushed while it is drained", messages, async {
                let pushing = actix_rt::spawn({
                    let channel = Arc::clone(&channel);
                    async move { push(&channel, messages, 100).await }
                });
                let mut drained = 0;
                while drained < messages / 100 * 100 {
                    let lease = channel.receive(DEMAND, Duration::from_secs(1)).await.unwrap().unwrap();
                    drained += lease.messages.len();
                    channel.complete(&mut vec![lease], &[]).await.unwrap();
                }
                println!("  one push: {:.2?} at most", pushing.await.unwrap().1);
            })
            .await;
        })
    });
    drop(channel);
    println!("the file has {} MiB; {} MiB resident at most", size(&path), megabytes("VmHWM"));
}
