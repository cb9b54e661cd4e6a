//! The manual pages and the completions: sound, and of the program as it is.

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, process::Stdio};

use kadabra::config::schema::keys;

use super::support::{
    agent::{cli, kadabra},
    process::command,
};

fn said(arguments: &[&str]) -> String {
    let output = cli(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    said(&["man", "--install", folder.path().to_str().unwrap()]);
    folder
}

fn rendered(file: &Path) -> String {
    let mandoc = command("mandoc").args(["-Tascii", "-Owidth=200"]).arg(file).output().expect("mandoc is missing; run tests/run");
    // A bold letter is written twice, an underlined one onto its line.
    let text = String::from_utf8(mandoc.stdout).unwrap();
    let mut plain = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' {
            plain.pop();
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[test]
fn every_command_has_a_page_that_nothing_is_wrong_with() {
    let folder = installed();
    let pages = fs::read_dir(folder.path().join("man/man1")).unwrap().map(|page| page.unwrap().path());
    let mut pages: Vec<_> = pages.chain([folder.path().join("man/man5/kadabra.toml.5")]).collect();
    pages.sort();
    for page in &pages {
        let lint = command("mandoc").args(["-Tlint", "-Wwarning"]).arg(page).output().expect("mandoc is missing; run tests/run");
        let lint = String::from_utf8(lint.stdout).unwrap();
        // Pages have a version instead.
        let wrong: Vec<_> = lint.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let text = rendered(page);
        assert!(text.contains("\nNAME\n") && text.contains("kadabra 0."), "{text}");
    }
    let names: BTreeSet<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    let help = said(&["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for command in commands.lines().filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help") {
        // A line that goes on with the one before it begins with no command.
        if command.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && cli([command, "--help"]).status.success()
        {
            assert!(names.contains(&format!("kadabra-{command}.1")), "{command}: {names:?}");
        }
    }
    assert!(names.contains("kadabra-dead-letters-replay.1"), "{names:?}");
    let main = rendered(&folder.path().join("man/man1/kadabra.1"));
    assert!(main.contains("EXIT CODES\n") && main.contains("\n  78   ") | main.contains("\n         78   "), "{main}");
}

#[test]
fn the_page_of_the_configuration_has_every_key() {
    let text = rendered(&installed().path().join("man/man5/kadabra.toml.5"));
    for key in keys() {
        let section = text.split(&format!("\n[{}]\n", key.section())).nth(1).unwrap_or_else(|| panic!("no section of {key}"));
        assert!(section.contains(&format!(" {} = ", key.name())), "{key}");
    }
}

#[test]
fn a_page_is_printed_by_the_name_of_its_command() {
    assert_eq!(said(&["man"]), said(&["man", "kadabra"]));
    assert_eq!(said(&["man", "dead-letters-list"]), said(&["man", "kadabra-dead-letters-list"]));
    assert!(said(&["man", "kadabra.toml"]).contains("max_bytes"));
    let wrong = cli(["man", "nothing"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("kadabra-check"));
    let full = kadabra().args(["man", "--install", "/dev/null/x"]).output().unwrap();
    assert_eq!(full.status.code(), Some(74));
}

/// What bash offers behind the last word.
fn completed(script: &str, words: &[&str]) -> BTreeSet<String> {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.len() - 1;
    let asked = format!(
        "{script}\nCOMP_WORDS=({}); COMP_CWORD={last}\nfunction=$(complete -p kadabra | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function kadabra '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        quoted.join(" "),
        words[last],
        words[last - 1]
    );
    let mut bash =
        command("bash").arg("--norc").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_files() {
    let script = said(&["completions", "bash"]);
    let of = |words: &[&str]| completed(&script, words);
    assert!(of(&["kadabra", "ch"]).contains("check"));
    assert_eq!(of(&["kadabra", "dead-letters", "rep"]), BTreeSet::from(["replay".to_owned()]));
    assert_eq!(of(&["kadabra", "check", "--onl"]), BTreeSet::from(["--online".to_owned()]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    fs::write(&file, "").unwrap();
    let begun = folder.path().join("kada");
    assert_eq!(
        of(&["kadabra", "check", "--config", begun.to_str().unwrap()]),
        BTreeSet::from([file.to_str().unwrap().to_owned()])
    );
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(said(&["completions", shell]).contains("dead-letters"), "{shell}");
    }
}
