//! `kadabra queue salvage`: what can be read of a file is in the new one, whatever the damage, and the file is as it was.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Output};

use fastrand::Rng;

use super::*;
use crate::{
    channel_contract::{ALL, NO_WAIT, letter, receive},
    support::process::command,
};

const EACH: usize = 20;
const CHUNKS: usize = 30;
const DONE: usize = 50;
const PAGE: usize = 4096;

fn message(number: usize) -> String {
    format!("{number} {}", "x".repeat(number * 37 % 997))
}

fn salvage(file: &Path, to: &Path) -> Output {
    let mut kadabra = command(env!("CARGO_BIN_EXE_kadabra"));
    kadabra.args(["queue", "salvage"]).arg(file).arg("--to").arg(to).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A queue of which the first messages are done, the first of all as a dead letter.
fn whole(folder: &Path) -> PathBuf {
    let path = folder.join("whole.db");
    run(async {
        let channel = open(&settings(&path)).await;
        for chunk in 0..CHUNKS {
            push(&channel, (chunk * EACH..(chunk + 1) * EACH).map(message)).await;
        }
        let lease = receive(&channel, DONE, 10_000_000).await.unwrap();
        let letters = [letter(&lease, 0)];
        channel.complete(&mut vec![lease], &letters).await.unwrap();
    });
    path
}

/// What an agent delivers of a file, and how many dead letters it has.
fn delivered(path: &Path) -> (Vec<String>, u64) {
    run(async {
        let channel = open(&settings(path)).await;
        let mut there = Vec::new();
        while let Some(lease) = channel.receive(ALL, NO_WAIT).await.unwrap() {
            there.extend(texts(&lease.messages));
            channel.complete(&mut vec![lease], &[]).await.unwrap();
        }
        push(&channel, ["and it goes on"]).await;
        (there, channel.depth().await.unwrap().dead)
    })
}

#[test]
fn of_a_file_that_is_well_everything_is_taken_out_and_nothing_changed() {
    let folder = quick_folder();
    let (path, new) = (whole(folder.path()), folder.path().join("new.db"));
    let before = fs::read(&path).unwrap();
    let output = salvage(&path, &new);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let counts = format!("{} messages wait in {}, with 1 dead letter\n", CHUNKS * EACH - DONE, new.display());
    assert_eq!(said(&output), counts + "0 messages and 0 dead letters could not be read\n");
    assert!(fs::read(&path).unwrap() == before, "changed");
    let (there, dead) = delivered(&new);
    assert!(there.into_iter().eq((DONE..CHUNKS * EACH).map(message)));
    assert_eq!(dead, 1);
    let names: BTreeSet<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("new.db-copy")), "{names:?}");
}

#[test]
fn a_running_agents_file_what_is_no_queue_and_a_new_file_that_is_there_are_refused() {
    let folder = quick_folder();
    let (path, new) = (whole(folder.path()), folder.path().join("new.db"));
    let refused = |file: &Path, to: &Path, why: &str| {
        let output = salvage(file, to);
        assert_eq!(output.status.code(), Some(69), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    };
    run(async {
        let _agent = open(&settings(&path)).await;
        refused(&path, &new, "is another agent's that is running; stop that agent first");
    });
    assert!(!new.exists());
    refused(&folder.path().join("missing.db"), &new, "cannot open ");
    let other = folder.path().join("other");
    fs::write(&other, "x".repeat(5000)).unwrap();
    refused(&other, &new, "it holds something else");
    refused(&path, &other, "other is there already");
    assert_eq!(fs::read(&other).unwrap().len(), 5000);
}

#[test]
fn whatever_is_damaged_what_can_be_read_is_taken_out_once_and_counted() {
    let folder = quick_folder();
    let path = whole(folder.path());
    let whole = fs::read(&path).unwrap();
    let (damaged, new) = (folder.path().join("q.db"), folder.path().join("new.db"));
    let seed = std::env::var("KADABRA_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let mut taken = 0;
    for round in 0..24 {
        let mut bytes = whole.clone();
        let at = rng.usize(PAGE..bytes.len());
        let end = bytes.len().min(at + rng.usize(1..3 * PAGE));
        let what = match round % 4 {
            0 => {
                bytes[at] ^= 1 << rng.u8(..8);
                "a bit"
            }
            1 => {
                bytes[at..end].fill(0);
                "zeros"
            }
            2 => {
                bytes[at..end].iter_mut().for_each(|byte| *byte = rng.u8(..));
                "noise"
            }
            _ => {
                bytes.truncate(at);
                "cut off"
            }
        };
        let what = format!("seed {seed}, round {round}: {what} at {at}");
        fs::write(&damaged, &bytes).unwrap();
        let output = salvage(&damaged, &new);
        assert!(fs::read(&damaged).unwrap() == bytes, "{what}: changed");
        if output.status.code() != Some(0) {
            assert_eq!(output.status.code(), Some(69), "{what}: {}", said(&output));
            assert!(said(&output).contains("is damaged: ") && !new.exists(), "{what}: {}", said(&output));
            continue;
        }
        taken += 1;
        let (there, _) = delivered(&new);
        let said = said(&output);
        let first = if there.len() == 1 { "1 message waits".to_owned() } else { format!("{} messages wait", there.len()) };
        assert!(said.starts_with(&first), "{what}: {} delivered: {said}", there.len());
        let numbers: Vec<usize> = there.iter().map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.iter().zip(&there).all(|(number, text)| message(*number) == *text), "{what}: not as it was pushed");
        let once: BTreeSet<_> = numbers.iter().copied().collect();
        assert_eq!(once.len(), numbers.len(), "{what}: twice");
        let again = once.range(..DONE).count();
        assert!(again == 0 || said.contains("may be published once more"), "{what}: {again} were done: {said}");
        let missing = (DONE..CHUNKS * EACH).filter(|number| !once.contains(number)).count();
        let told = said.contains("cannot be told") || said.contains(&format!("\n{missing} message"));
        assert!(missing == 0 || told, "{what}: {missing} are missing: {said}");
        drop((fs::remove_file(&new), fs::remove_file(folder.path().join("new.db-lock"))));
    }
    assert!(taken > 10, "seed {seed}: only {taken} could be read");
}
