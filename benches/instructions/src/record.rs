//! The numbers that are kept, in `benches/instructions.toml`.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use toml::de::{DeTable, DeValue};

use super::case::Case;

/// Instructions a message, and what they were counted with.
#[derive(Debug)]
pub(crate) struct Record {
    /// What decides about the instructions of the same source.
    pub(crate) made_with: BTreeMap<String, String>,
    /// In the order of [`Case::ALL`].
    pub(crate) counts: [f64; Case::ALL.len()],
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "instructions.toml"].iter().collect()
}

impl Record {
    /// These counts with what is installed here.
    pub(crate) fn of_now(counts: [f64; Case::ALL.len()]) -> Self {
        let made_with = [
            ("rustc", said_by(&["rustc", "--version"])),
            ("libc", said_by(&["getconf", "GNU_LIBC_VERSION"])),
            ("valgrind", said_by(&["valgrind", "--version"])),
            ("target", [std::env::consts::ARCH, std::env::consts::OS].join("-")),
        ];
        Self { made_with: made_with.map(|(name, version)| (name.to_owned(), version)).into(), counts }
    }

    pub(crate) fn read() -> Self {
        let path = path();
        let unreadable = |why: &dyn std::fmt::Display| format!("{} cannot be read: {why}; write it with --write", path.display());
        let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}", unreadable(&why)));
        let file = DeTable::parse(&text).unwrap_or_else(|why| panic!("{}", unreadable(&why)));
        let section = |name: &str| file.get_ref().get(name).and_then(|section| section.get_ref().as_table());
        let made_with = section("made_with").expect("the file says what it was made with").iter();
        let made_with =
            made_with.map(|(name, value)| (name.get_ref().to_string(), value.get_ref().as_str().unwrap_or("").to_owned()));
        let counts = section("per_message").expect("the file has the counts");
        let count = |case: Case| match counts.get(case.name()).map(|count| count.get_ref()) {
            Some(DeValue::Integer(count)) => count.as_str().parse().expect("a count is a number"),
            _ => panic!("{}: {} is missing", path.display(), case.name()),
        };
        Self { made_with: made_with.collect(), counts: Case::ALL.map(count) }
    }

    pub(crate) fn write(&self) {
        let mut text = "# Instructions that a message of 5 points costs, and what they were counted with. Not written by hand:\n\
                        # cargo run --release --locked -p kadabra-instructions -- --write\n\n[made_with]\n"
            .to_owned();
        text.extend(self.made_with.iter().map(|(name, version)| format!("{name} = \"{version}\"\n")));
        text.push_str("\n[per_message]\n");
        text.extend(Case::ALL.iter().zip(self.counts).map(|(case, count)| format!("{} = {count:.0}\n", case.name())));
        fs::write(path(), text).expect("benches/instructions.toml can be written");
    }
}

fn said_by(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
