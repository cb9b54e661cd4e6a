//! `kadabra man` and `kadabra completions`: manual pages and shell completions, made of the command line and of the declared keys, so
//! that they cannot differ from the program.

mod configuration;
mod page;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, ValueHint};
use clap_complete::Shell;

use super::{Answers, complain, path};
use crate::agent::code;

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra man check | man -l -
  kadabra man kadabra.toml | man -l -
  kadabra man --install /usr/local/share";

pub(super) const COMPLETIONS_EXAMPLE: &str = "\
Example:
  kadabra completions bash > ~/.local/share/bash-completion/completions/kadabra";

/// The page of the configuration.
const CONFIGURATION: &str = "kadabra.toml";

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The page: a command such as check or dead-letters-list, or kadabra.toml; without it that of kadabra
    #[arg(value_name = "PAGE")]
    page: Option<String>,
    /// Write all pages, and the completions of bash, fish and zsh, where they belong below this folder: man/man1,
    /// bash-completion/completions, ...
    #[arg(long, value_name = "FOLDER", value_parser = path(), value_hint = ValueHint::DirPath, conflicts_with = "page")]
    install: Option<PathBuf>,
}

/// Prints the completions of one shell.
pub(super) fn completions(arguments: &Completions) -> u8 {
    print(&completions_for(arguments.shell))
}

/// Prints a page, or writes everything.
pub(super) fn man(arguments: &Arguments) -> u8 {
    if let Some(folder) = &arguments.install {
        return install(folder);
    }
    let wanted = arguments.page.as_deref().unwrap_or("kadabra");
    let pages = pages();
    let found = pages.iter().find(|page| page.name == wanted || page.name.strip_prefix("kadabra-") == Some(wanted));
    match found {
        Some(page) => print(&page.text),
        None => {
            let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
            complain(format_args!("there is no page {wanted:?}; there are {}", names.join(", ")));
            code::COMMAND_LINE
        }
    }
}

fn print(text: &str) -> u8 {
    let answers = Answers::default();
    answers.say(text.trim_end_matches('\n'));
    answers.code(0)
}

/// A manual page.
struct Page {
    /// `kadabra-check`
    name: String,
    /// The section of the manual that the page belongs to.
    section: u8,
    text: String,
}

/// Every page there is: one a command, and that of the configuration.
fn pages() -> Vec<Page> {
    let mut pages = page::of_all(super::Arguments::command());
    pages.push(Page { name: CONFIGURATION.to_owned(), section: 5, text: configuration::page() });
    pages
}

fn completions_for(shell: Shell) -> String {
    let mut written = Vec::new();
    clap_complete::generate(shell, &mut super::Arguments::command(), "kadabra", &mut written);
    String::from_utf8_lossy(&written).into_owned()
}

fn install(folder: &Path) -> u8 {
    let mut files: Vec<(String, String)> =
        pages().into_iter().map(|Page { name, section, text }| (format!("man/man{section}/{name}.{section}"), text)).collect();
    for (shell, file) in [
        (Shell::Bash, "bash-completion/completions/kadabra"),
        (Shell::Fish, "fish/vendor_completions.d/kadabra.fish"),
        (Shell::Zsh, "zsh/site-functions/_kadabra"),
    ] {
        files.push((file.to_owned(), completions_for(shell)));
    }
    let answers = Answers::default();
    for (file, text) in files {
        let file = folder.join(file);
        if let Err(error) = write(&file, &text) {
            complain(format_args!("{} cannot be written: {error}", file.display()));
            return answers.code(code::OUTPUT);
        }
        answers.say(file.display());
    }
    answers.code(0)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}
