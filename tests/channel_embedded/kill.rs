//! kill -9 at any instant: every push that was answered is there, once, and what was completed is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write as _,
};

use super::*;
use crate::{
    channel_contract::{ALL, LONG, NO_WAIT, letter},
    support::process::{Process, command, wait_for},
};

/// Where the child that is killed finds its file, and where it writes down what it was answered.
const FOLDER: &str = "KADABRA_TEST_FOLDER";
const FIRST: &str = "KADABRA_TEST_FIRST";

/// Not a test: what the next one kills. Pushes from several clients, one to eleven messages at once, and completes some.
#[test]
#[ignore = "a child of another test"]
fn a_child_that_pushes_and_completes() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let first: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    let log = || File::options().append(true).create(true).open(folder.join("log")).unwrap();
    let numbers = |messages: &[Vec<u8>]| messages.iter().map(|message| number(message)).collect::<Vec<_>>().join(" ");
    let durability = if first == 0 { Durability::Fsync } else { Durability::Process };
    run(async {
        let settings = Embedded { durability, ..settings(&folder.join("q.db")) };
        let channel = Arc::new(open(&settings).await);
        for client in 0..8usize {
            let (backend, mut log) = (channel.backend(), log());
            actix_rt::spawn(async move {
                let mut next = first + client * 100_000;
                loop {
                    let messages: Vec<_> = (next..=next + next % 11).map(|n| format!("{n} {}", "x".repeat(n % 997))).collect();
                    next += messages.len();
                    let end = if next.is_multiple_of(5) { End::Oldest } else { End::Newest };
                    backend.push(end, messages.into_iter().map(Bytes::from).collect()).await.unwrap();
                    log.write_all(format!("pushed {} {next}\n", first + client * 100_000).as_bytes()).unwrap();
                }
            });
        }
        let mut log = log();
        loop {
            let demand = kadabra::channel::Demand { messages: fastrand::usize(1..200), bytes: 100_000, not_before: None };
            let lease = channel.receive(demand, LONG).await.unwrap().unwrap();
            if fastrand::u8(..) < 80 {
                channel.release(&mut vec![lease]).await.unwrap();
                continue;
            }
            let numbers = numbers(&lease.messages);
            log.write_all(format!("completing {numbers}\n").as_bytes()).unwrap();
            let letters = [letter(&lease, 0)];
            let letters = if lease.messages.len() > 50 { &letters[..] } else { &[] };
            channel.complete(&mut vec![lease], letters).await.unwrap();
            log.write_all(format!("completed {numbers}\n").as_bytes()).unwrap();
        }
    });
}

fn number(message: &[u8]) -> String {
    String::from_utf8_lossy(message).split(' ').next().unwrap().to_owned()
}

#[test]
fn whatever_was_answered_before_kill_9_is_there_once_and_whatever_was_completed_is_gone() {
    const ROUNDS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let lines = |what: &str| -> Vec<String> {
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        // What is after the last newline was being written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|line| line.strip_prefix(what)).map(|rest| rest.trim().to_owned()).collect()
    };
    for round in 0..ROUNDS {
        let mut child = command(std::env::current_exe().unwrap());
        child.args(["channel_embedded::kill::a_child_that_pushes_and_completes", "--exact", "--ignored"]);
        child.env(FOLDER, folder.path()).env(FIRST, (round * 1_000_000).to_string());
        let before = (lines("pushed ").len(), lines("completed ").len());
        let mut child = Process::start("the child", child, &folder.path().join("output"));
        let goal = (before.0 + 20 + fastrand::usize(..400), before.1 + 1);
        wait_for("it to be at work", LONG, || {
            assert!(child.ended().is_none(), "{}", std::fs::read_to_string(folder.path().join("output")).unwrap());
            (lines("pushed ").len() >= goal.0 && lines("completed ").len() >= goal.1).then_some(())
        });
        child.kill();

        let mut pushed = BTreeMap::<usize, usize>::new();
        for line in lines("pushed ") {
            let (first, next) = line.split_once(' ').unwrap();
            pushed.insert(first.parse().unwrap(), next.parse().unwrap());
        }
        let numbers = |what: &str| -> BTreeSet<usize> {
            lines(what).iter().flat_map(|line| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<usize>>()).collect()
        };
        let (completing, completed) = (numbers("completing "), numbers("completed "));
        run(async {
            let channel = open(&settings(&path)).await;
            let mut there = BTreeSet::new();
            let mut leases = Vec::new();
            while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
                for message in lease.messages.iter() {
                    let number: usize = number(message).parse().unwrap();
                    assert_eq!(message.len(), number.to_string().len() + 1 + number % 997, "not as it was pushed");
                    assert!(there.insert(number), "{number} is there twice");
                }
                leases.push(lease);
            }
            assert!(there.is_disjoint(&completed), "what was completed is there again");
            for (&first, &next) in &pushed {
                let lost: Vec<_> = (first..next).filter(|n| !there.contains(n) && !completing.contains(n)).collect();
                assert!(lost.is_empty(), "round {round}: {lost:?} were answered and are gone");
            }
        });
    }
}
