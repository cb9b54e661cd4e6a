//! The rules of the house that no compiler holds: which room may use which, what a file may weigh, which words are taken,
//! and that what the documentation names is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use proc_macro2::{LexError, TokenStream, TokenTree};

/// The rooms, from the ground up. A file may use its own room and those before it in this list, never one behind it.
const ROOMS: &[&str] = &[
    // Small pieces.
    "backoff",
    "codes",
    "descriptors",
    "duration",
    "limits",
    "plural",
    "quote",
    "panics",
    "rate_limit",
    "failpoint", //
    "config",
    "wire",
    "observe",
    "connect",
    "queue",
    "listener",
    "statsd",
    "channel",
    "publisher",
    "supervision",
    "status",
    "web",
    "agent",
    "client",
    "cli",
    "fuzzing",
    "main",
];

/// No file in `src` is longer: one that is has two ideas.
const LONGEST: usize = 500;

/// Words that were once used for a thing which has a name in this field, and that name.
const WORDS: &[(&str, &str)] = &[
    ("contradiction", "cross-check"),
    ("desk", "group commit"),
    ("erasing", "deleting"),
    ("extent", "space"),
    ("gate", "listener slot"),
    ("gathering", "group commit"),
    ("inbox", "work queue"),
    ("legible", "readable"),
    ("mood", "fault mode"),
    ("occupant", "port probe"),
    ("pace", "limiter"),
    ("ramp", "limiter"),
    ("rehearsal", "test server"),
    ("shelf", "queue state"),
    ("standing", "status"),
    ("stranger", "unauthenticated client"),
    ("untold", "unreported"),
    ("vicinity", "salvage"),
];

#[test]
fn a_room_uses_only_rooms_below_it() {
    let mut wrong = Vec::new();
    for file in sources() {
        let (room, depth) = place(&file);
        let own = rank(&room).unwrap_or_else(|| panic!("{} belongs to no room of tests/tidy.rs", file.display()));
        for used in rooms_used(&read(&file), depth).unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
            match rank(&used) {
                Some(rank) if rank <= own => {}
                Some(_) => wrong.push(format!("{} uses {used}, which is above it", file.display())),
                None => wrong.push(format!("{} uses {used}, which is no room of tests/tidy.rs", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_has_two_ideas() {
    let long = sources().into_iter().filter_map(|file| {
        let lines = read(&file).lines().count();
        (lines > LONGEST).then(|| format!("{} has {lines} lines, of {LONGEST} allowed", file.display()))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_thing_has_one_name() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in read(&file).lines().enumerate() {
            for word in words(line) {
                let singular = word.strip_suffix('s').unwrap_or(&word);
                if let Some((_, instead)) = WORDS.iter().find(|(taken, _)| *taken == singular) {
                    wrong.push(format!("{}:{}: `{word}`; say {instead}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_however_they_are_written_but_not_those_of_tests() {
    let used = |source: &str| rooms_used(source, 2).unwrap().into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(used("use crate::agent::Exit;"), "agent");
    assert_eq!(used("use crate::{config::{self, Key}, wire, queue::*};"), "config queue wire");
    assert_eq!(used("fn f() -> crate::queue::Queue { g(|| crate::cli::main()) }"), "cli queue");
    assert_eq!(used("macro_rules! m { () => { $crate::agent::run() } }"), "agent");
    assert_eq!(used("pub(in crate::queue) fn f() {}"), "queue");
    assert_eq!(used("use super::sibling; use super::super::agent;"), "agent", "a folder's file is two below the root");
    assert_eq!(used("mod inner { use super::super::super::agent; use super::super::sibling; }"), "agent");
    assert_eq!(used("#[cfg(test)] use crate::cli; #[cfg(test)] mod tests { use crate::agent::Exit; } use crate::wire;"), "wire");
    assert_eq!(used("/// Not [`crate::agent`] in a comment.\n// crate::cli\nfn f() { \"crate::agent\"; }"), "");
}

#[test]
fn words_are_found_in_names_too() {
    assert_eq!(
        words("let QueueState = on_shelf(1, \"Shelves\");").collect::<Vec<_>>(),
        ["let", "queue", "state", "on", "shelf", "shelves"]
    );
}

/// The words of a line, in lower case; `QueueState` and `queue_state` are two each.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    let mut word = String::new();
    for letter in line.chars() {
        if !letter.is_ascii_alphabetic()
            || (letter.is_ascii_uppercase() && word.ends_with(|before: char| before.is_ascii_lowercase()))
        {
            found.push(std::mem::take(&mut word));
        }
        if letter.is_ascii_alphabetic() {
            word.push(letter);
        }
    }
    found.push(word);
    found.into_iter().filter(|word| !word.is_empty()).map(|word| word.to_ascii_lowercase())
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|other| *other == room)
}

/// The room that a file belongs to, and how deep below the crate's root its module is.
fn place(file: &Path) -> (String, usize) {
    let inside = file.strip_prefix(root().join("src")).expect("below src").with_extension("");
    let mut parts: Vec<_> = inside.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

/// The rooms that a source names, by `crate::` or by as many `super::` as lead there, outside its own tests.
fn rooms_used(source: &str, depth: usize) -> Result<BTreeSet<String>, LexError> {
    let mut used = BTreeSet::new();
    collect(TokenStream::from_str(source)?, depth, &mut used);
    Ok(used)
}

fn collect(tokens: TokenStream, depth: usize, used: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_test_only(token) && at > 0 && is_punct(tokens.get(at - 1), '#') {
            at = end_of_item(&tokens, at + 1);
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                // A module inside a file is one deeper.
                let deeper = usize::from(at > 1 && is_ident(tokens.get(at - 2), "mod"));
                collect(group.stream(), depth + deeper, used);
            }
            TokenTree::Ident(ident) if ident == "crate" || ident == "super" => {
                let mut end = at;
                let mut climbed = usize::from(ident == "super");
                while ident == "super" && is_path(&tokens, end + 1) && is_ident(tokens.get(end + 3), "super") {
                    end += 3;
                    climbed += 1;
                }
                if (ident == "crate" || climbed >= depth) && is_path(&tokens, end + 1) {
                    named(tokens.get(end + 3), used);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
}

/// What follows `crate::`: a name, or several in braces.
fn named(token: Option<&TokenTree>, used: &mut BTreeSet<String>) {
    match token {
        Some(TokenTree::Ident(ident)) => {
            used.insert(ident.to_string());
        }
        Some(TokenTree::Group(group)) => {
            let mut first = true;
            for token in group.stream() {
                match &token {
                    TokenTree::Ident(ident) if first => {
                        used.insert(ident.to_string());
                        first = false;
                    }
                    TokenTree::Punct(punct) if punct.as_char() == ',' => first = true,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Whether this is what `#[cfg(test)]` has in its brackets. Tests may use whatever they need.
fn is_test_only(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let text: String = group.stream().to_string().chars().filter(|letter| !letter.is_whitespace()).collect();
    text == "cfg(test)" || text.starts_with("cfg(any(test,")
}

/// The first token behind the item that begins at `at`.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        let braces = matches!(token, TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Brace);
        if is_punct(Some(token), ';') || braces {
            break;
        }
    }
    at
}

fn is_path(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_ident(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every source of the crate that is not only a test of it.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let is_test = name == "tests" || name.ends_with("_tests");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test && name != "lib" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
