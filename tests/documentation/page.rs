//! A page of the documentation, and what stands in it.

use std::{collections::BTreeSet, fs};

/// A page by its path from the root of the project.
pub(crate) struct Page {
    pub(super) name: String,
    text: String,
}

/// A fenced block of a page. A comment on the line above it says how it is run:
///
/// - `<!-- not run by the tests: sudo, curl; REASON -->`: its commands that begin so are left out.
/// - `<!-- goes on -->`: its last line is an agent, which runs until one of these comments or the end of the page.
/// - `<!-- the agent is stopped -->`: that agent has ended before the block is run.
#[derive(Debug)]
pub(crate) struct Block {
    pub(super) place: String,
    /// The heading that it stands below.
    section: String,
    pub(super) language: String,
    pub(super) text: String,
    /// What commands begin with that are not run.
    pub(super) left_out: Vec<String>,
    pub(super) agent: Agent,
}

/// What becomes of the page's agent at a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    Untouched,
    /// Its last line starts one.
    Started,
    /// It ends before the block.
    Stopped,
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(super::root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// The lines with their numbers that stand in no block.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !fence && !inside
        })
    }

    /// Where its links lead.
    pub(super) fn links(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
    }

    /// What stands between backticks.
    pub(super) fn quoted(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(quoted)
    }

    /// The rows of the table whose first column has this head.
    pub(super) fn table<'a>(&'a self, head: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
        let rows = self.prose().map(str::trim).skip_while(move |line| !line.starts_with(&format!("| {head} |"))).skip(2);
        rows.take_while(|line| line.starts_with('|')).map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(str::trim).collect()
        })
    }

    pub(super) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<usize> = None;
        let (mut before, mut section) = ("", "");
        for (number, line) in self.text.lines().enumerate() {
            let trimmed = line.trim_start();
            match (open, trimmed.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(line.len() - trimmed.len());
                    let place = format!("{}:{}", self.name, number + 2);
                    let (left_out, agent) = instructions(before);
                    blocks.push(Block {
                        place,
                        section: section.to_owned(),
                        language: language.to_owned(),
                        text: String::new(),
                        left_out,
                        agent,
                    });
                }
                (Some(_), Some(_)) => open = None,
                (Some(indent), None) => {
                    let text = &mut blocks.last_mut().unwrap().text;
                    *text += line.get(indent..).unwrap_or_default();
                    text.push('\n');
                }
                (None, None) if line.starts_with('#') => section = line.trim_start_matches(['#', ' ']),
                (None, None) => {}
            }
            before = trimmed;
        }
        blocks
    }
}

impl Page {
    /// The commands below a heading that are run, a line each, in their blocks' order.
    pub(crate) fn commands(&self, section: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter().filter(|block| block.section == section && block.language == "sh");
        let commands: Vec<String> = blocks.flat_map(|block| block.commands().0).collect();
        assert!(!commands.is_empty(), "{} has no commands below {section}", self.name);
        commands
    }
}

impl Block {
    /// The commands that are run, and how many are not.
    pub(super) fn commands(&self) -> (Vec<String>, usize) {
        let is_left_out = |line: &String| {
            let begins =
                |with: &String| line.strip_prefix(with.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
            self.left_out.iter().any(begins)
        };
        let (left_out, run): (Vec<_>, Vec<_>) = logical_lines(&self.text).into_iter().partition(is_left_out);
        (run, left_out.len())
    }
}

/// Commands that go on in the next line are one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => *last += &format!("\n{line}"),
            None => lines.push(line.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    lines
}

/// What the line above a block says: which commands are left out, and what becomes of the agent.
fn instructions(line: &str) -> (Vec<String>, Agent) {
    let comment = match line.strip_prefix("<!-- ").and_then(|comment| comment.strip_suffix(" -->")) {
        None => return (Vec::new(), Agent::Untouched),
        Some("goes on") => return (Vec::new(), Agent::Started),
        Some("the agent is stopped") => return (Vec::new(), Agent::Stopped),
        Some(other) => other,
    };
    let left_out =
        comment.strip_prefix("not run by the tests: ").unwrap_or_else(|| panic!("means nothing to the tests: {comment}"));
    let (commands, reason) = left_out.split_once("; ").unwrap_or_else(|| panic!("says no reason: {comment}"));
    assert!(!reason.is_empty());
    (commands.split(", ").map(str::to_owned).collect(), Agent::Untouched)
}

/// What stands between backticks in a line.
pub(super) fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The headings of a page, as links name them.
pub(super) fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))).map(
        |heading| {
            let kept = heading.chars().filter(|&letter| letter.is_alphanumeric() || " -_".contains(letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
        },
    )
}

/// Whether this is written as a key of the configuration with its section.
pub(super) fn is_key(name: &str) -> bool {
    let sections = ["agent.", "channel.", "batch.", "publisher.", "nanny.", "supervisor.", "log."];
    let is_name = |name: &str| name.chars().all(|letter| letter.is_ascii_lowercase() || "._".contains(letter));
    sections.iter().any(|section| name.starts_with(section)) && is_name(name)
}

/// The keys of a configuration, with their sections, commented out or not.
pub(super) fn keys(text: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            keys.insert(format!("{section}.{key}"));
        }
    }
    keys
}
