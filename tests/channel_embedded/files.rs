//! A file that cannot be the queue is refused at the start, with a sentence, and left as it is.

use std::{fs, os::unix::fs::PermissionsExt as _};

use kadabra::channel::ChannelError;

use super::*;
use crate::channel_contract::{ALL, NO_WAIT, letter, numbers, receive};

/// The sentence with which the file is refused, without its path.
fn refused(path: &Path) -> String {
    let channel = EmbeddedChannel::new(&settings(path), "here");
    match run(async { channel.open().await }) {
        Err(ChannelError::Unusable { what, mend }) => {
            let shown = path.display().to_string();
            assert!(what.contains(&shown), "{what} does not name {shown}");
            format!("{what}; {mend}").replace(&shown, "FILE")
        }
        other => panic!("{other:?}"),
    }
}

/// That it is refused like this, and not a byte of it changed.
fn refused_and_untouched(path: &Path, begins: &str) {
    let before = fs::read(path).unwrap();
    let said = refused(path);
    assert!(said.starts_with(begins), "{said}");
    assert!(fs::read(path).unwrap() == before, "changed");
}

#[test]
fn what_is_no_queue_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    assert!(refused(folder.path()).starts_with("cannot keep the queue in FILE: it is a folder; set channel.embedded.path"));
    for content in [&b"x"[..], b"SQLite format 3\0", &[0; 5000], "a text of more than a hundred bytes ".repeat(9).as_bytes()] {
        fs::write(&path, content).unwrap();
        refused_and_untouched(&path, "cannot keep the queue in FILE: it holds something else; set channel.embedded.path");
    }
    fs::remove_file(&path).unwrap();
    for wal in [false, true] {
        let connection = Connection::open(&path).unwrap();
        if wal {
            connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        }
        connection.execute_batch("CREATE TABLE IF NOT EXISTS chunks (id INTEGER PRIMARY KEY, count, body)").unwrap();
        drop(connection);
        refused_and_untouched(&path, "cannot keep the queue in FILE: it is another program's SQLite file; set ");
    }
    let socket = folder.path().join("s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(refused(&socket).starts_with("cannot keep the queue in FILE: it is a socket; "));
    let under_a_file = path.join("q.db");
    let channel = EmbeddedChannel::new(&settings(&under_a_file), "here");
    let said = run(async { channel.open().await }).unwrap_err().to_string();
    assert!(said.starts_with("cannot make the folder "), "{said}");
}

#[test]
fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    run(async { push(&open(&settings(&path)).await, ["m"]).await });
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    refused_and_untouched(&path, "FILE was written by a newer Kadabra: its version is 3, this one knows 2; start that Kadabra");
}

#[test]
fn a_damaged_file_is_refused_with_what_to_do_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    run(async { push(&open(&settings(&path)).await, (0..2000).map(|n| n.to_string().repeat(200))).await });
    let whole = fs::read(&path).unwrap();
    for (from, to) in [(100, 4096), (4096, 4 * 4096), (3900, 4096)] {
        let mut damaged = whole.clone();
        damaged[from..to].fill(0xa5);
        fs::write(&path, &damaged).unwrap();
        refused_and_untouched(&path, "FILE is damaged: ");
        assert!(refused(&path).contains("mv FILE FILE.damaged"));
    }
    // Cut off, and with its tables gone.
    fs::write(&path, &whole[..4096]).unwrap();
    refused_and_untouched(&path, "FILE is damaged: ");
    fs::write(&path, &whole).unwrap();
    Connection::open(&path).unwrap().execute_batch("DROP TABLE done").unwrap();
    refused_and_untouched(&path, "FILE is damaged: it has no done as it should be; ");
}

#[test]
fn a_damaged_message_is_counted_as_parked_and_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    run(async {
        let channel = open(&settings(&path)).await;
        for part in [0..3, 3..6, 6..9] {
            push(&channel, numbers(part)).await;
        }
        drop(channel);
        let other = Connection::open(&path).unwrap();
        other.execute("UPDATE chunks SET body = CAST('garbage' AS BLOB) WHERE id = 2", []).unwrap();
        drop(other);
        let channel = open(&settings(&path)).await;
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(lease.messages.to_vec(), [numbers(0..3), numbers(6..9)].concat());
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        let tally = channel.registry().tally();
        assert_eq!((tally.leased, tally.published, tally.parked), (9, 6, 3));
        let depth = channel.depth().await.unwrap();
        assert_eq!((depth.queued, depth.dead), (0, 0));
        let patience = kadabra::channel::Patience { age: Duration::MAX, messages: 100 };
        let said = channel.pressure(&patience).await.unwrap().warnings;
        assert!(said[0].what.contains("is damaged") && said[0].now.contains("; 3 messages cannot be read"), "{said:?}");
    });
}

#[test]
fn one_agent_a_file_whatever_name_it_has() {
    for made_before in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let (link, hard) = (folder.path().join("link.db"), folder.path().join("hard.db"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        if made_before {
            run(async { drop(open(&settings(&path)).await) });
        }
        run(async {
            let first = open(&settings(&link)).await;
            fs::hard_link(&path, &hard).unwrap();
            for (other, its_own) in [(&path, &path), (&link, &path), (&hard, &hard)] {
                let said = EmbeddedChannel::new(&settings(other), "here").open().await.unwrap_err().to_string();
                let expected = format!("{} is another agent's that is running; end that agent, or", its_own.display());
                assert!(said.starts_with(&expected), "{said}");
            }
            // Whoever cleans up does not let a second agent in.
            fs::remove_file(folder.path().join("q.db-lock")).unwrap();
            let said = EmbeddedChannel::new(&settings(&path), "here").open().await.unwrap_err().to_string();
            assert!(said.contains("is another agent's that is running"), "{said}");
            first.open().await.unwrap();
            push(&first, ["m"]).await;
            drop(first);
            assert!(!folder.path().join("link.db-wal").exists(), "a log that is nobody's");
            assert_eq!(open(&settings(&link)).await.depth().await.unwrap().queued, 1);
        });
    }
}

#[test]
fn a_file_that_is_deleted_moved_or_replaced_under_the_agent_is_noticed_and_takes_no_more_until_it_is_back() {
    for (name, replaced) in [("q.db", false), ("q.db", true), ("q.db-wal", false)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let (file, moved) = (folder.path().join(name), folder.path().join("moved"));
        run(async {
            let channel = open(&settings(&path)).await;
            push(&channel, ["before"]).await;
            fs::rename(&file, &moved).unwrap();
            if replaced {
                fs::write(&file, "").unwrap();
            }
            let more = async || channel.backend().push(End::Newest, vec![Bytes::from_static(b"m")]).await;
            let why = crate::channel_contract::eventually("a push to be refused", async || more().await.err()).await.to_string();
            let expected = format!("{} was deleted, moved or replaced under the running agent", file.display());
            assert!(why.starts_with(&expected) && why.contains("; put "), "{why}");
            // What waits can still be published.
            let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
            assert_eq!(lease.messages[0], b"before");
            channel.complete(&mut vec![lease], &[]).await.unwrap();
            fs::rename(&moved, &file).unwrap();
            crate::channel_contract::eventually("a push to be taken again", async || more().await.ok()).await;
        });
    }
}

#[test]
fn what_is_made_is_for_the_agent_alone_and_its_folder_is_made_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/q.db");
    run(async {
        let channel = EmbeddedChannel::new(&settings(&path), "here");
        let said = channel.open().await.unwrap();
        assert!(said.contains(&path.display().to_string()) && said.contains("0 messages wait"), "{said}");
        push(&channel, ["m"]).await;
        for file in fs::read_dir(path.parent().unwrap()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?} has {mode:o}", file.path());
        }
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    });
}

#[test]
fn an_operator_may_look_at_dead_letters_and_delete_them_while_the_agent_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    run(async {
        let channel = open(&Embedded { max_dead_letters: 3, ..settings(&path) }).await;
        push(&channel, numbers(0..20)).await;
        let park = async |messages: usize| {
            let lease = receive(&channel, messages, 100).await.unwrap();
            let letters: Vec<_> = (0..messages).map(|message| letter(&lease, message)).collect();
            channel.complete(&mut vec![lease], &letters).await.unwrap().letters_dropped
        };
        assert_eq!((park(3).await, park(1).await), (0, 1));
        let operator = Connection::open(&path).unwrap();
        assert_eq!(operator.execute("DELETE FROM dead", []).unwrap(), 3);
        assert_eq!(channel.depth().await.unwrap().dead, 0);
        assert_eq!((park(3).await, park(2).await), (0, 2));
    });
}

#[test]
fn who_reads_the_file_for_long_stops_nobody_and_the_log_is_short_again_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let log = || fs::metadata(folder.path().join("q.db-wal")).unwrap().len();
    run(async {
        let channel = open(&settings(&path)).await;
        push(&channel, ["first"]).await;
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM chunks;").unwrap();
        for _ in 0..30 {
            push(&channel, ["x".repeat(1_000_000)]).await;
        }
        assert!(log() > 30_000_000, "{}", log());
        let lease = channel.receive(ALL, NO_WAIT).await.unwrap().unwrap();
        assert_eq!(lease.messages.len(), 31);
        drop(reader);
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        crate::channel_contract::eventually("a short log", async || {
            push(&channel, ["x"]).await;
            (log() <= 16 << 20).then_some(())
        })
        .await;
    });
}
