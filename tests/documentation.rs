//! What the documentation says is so: its commands do what it says, its links lead somewhere, the tests, files and keys that it names
//! exist, and its tables are those of the program.
//!
//! Comments in the pages, which are not shown when they are rendered, say what becomes of the block below them: see [`page::Block`].

#[path = "documentation/commands.rs"]
mod commands;
#[path = "documentation/page.rs"]
pub(crate) mod page;
#[path = "documentation/shell.rs"]
mod shell;

use std::{collections::BTreeSet, fs, path::Path};

use kadabra::codes::Code;

use super::support::{agent::cli, redis_server::KEYS};
use page::Page;

/// The most lines that a page may have.
fn most_lines(page: &Page) -> usize {
    match page.name.as_str() {
        "README.md" => 170,
        "CONTRIBUTING.md" | "SECURITY.md" => 80,
        _ => 199,
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that the project's users and contributors read.
fn pages() -> Vec<Page> {
    let mut names = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned).to_vec();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let pages = docs.map(|page| format!("docs/{}", page.unwrap().file_name().to_str().unwrap()));
    names.extend(pages.filter(|name| name.ends_with(".md")));
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

/// Fails with all of them.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_page_is_too_long_to_be_read() {
    let long = pages().into_iter().filter(|page| page.lines() > most_lines(page));
    assert_none(
        &long
            .map(|page| format!("{} has {} lines, of {} allowed", page.name, page.lines(), most_lines(&page)))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for link in page.links().filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let file = if path.is_empty() { root().join(&page.name) } else { root().join(&page.name).with_file_name(path) };
            let found = match heading {
                "" => file.exists(),
                _ => fs::read_to_string(&file).is_ok_and(|text| page::headings(&text).any(|other| other == heading)),
            };
            if !found {
                wrong.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_page_is_linked_from_the_first_one() {
    let readme = Page::read("README.md");
    let linked: BTreeSet<&str> = readme.links().map(|link| link.split('#').next().unwrap()).collect();
    let missing = pages().into_iter().filter(|page| page.name != "README.md" && !linked.contains(page.name.as_str()));
    assert_none(&missing.map(|page| page.name).collect::<Vec<_>>());
}

#[test]
fn every_file_and_key_that_a_page_names_exists() {
    let keys = fs::read_to_string(root().join("conf/kadabra.toml")).unwrap();
    let keys = page::keys(&keys);
    let mut wrong = Vec::new();
    for page in pages() {
        for name in page.quoted() {
            let is_path = !name.contains('*')
                && ["src/", "tests/", "benches/", "conf/", "docs/", ".ci/"].iter().any(|folder| name.starts_with(folder));
            let is_key = page::is_key(name);
            if is_path && !root().join(name.split(' ').next().unwrap()).exists() || is_key && !keys.contains(name) {
                wrong.push(format!("{}: {name}", page.name));
            }
        }
    }
    assert_none(&wrong);
}

/// A module of tests as the table names it, with those in its folder.
fn tests_of(path: &str) -> String {
    let path = root().join(path);
    let mut text = fs::read_to_string(&path).or_else(|_| fs::read_to_string(path.with_extension("rs"))).unwrap_or_default();
    for file in fs::read_dir(path.with_extension("")).into_iter().flatten() {
        text += &fs::read_to_string(file.unwrap().path()).unwrap_or_default();
    }
    text
}

#[test]
fn every_row_of_the_faults_names_tests_that_exist() {
    let page = Page::read("docs/promises-and-faults.md");
    let rows: Vec<_> = page.table("fault").collect();
    assert!(rows.len() > 40, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let named: Vec<&str> = page::quoted(row[3]).collect();
        if named.is_empty() {
            wrong.push(format!("no test is named for: {}", row[0]));
        }
        for name in named {
            // The campaign, the model, the fuzz targets and the tests in Python are tests as a whole.
            let whole = ["tests/campaign.rs", "tests/lease_model.rs", "tests/fuzz", "clients/python/tests"].contains(&name)
                && root().join(name).exists();
            if !whole && !tests_of(name).contains("#[test]") && !tests_of(name).contains("::test]") {
                wrong.push(format!("{name} has no test: {}", row[0]));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_codes_are_those_of_the_program_and_each_has_a_place_to_link_to() {
    let rows: String = Code::ALL
        .iter()
        .map(|code| format!("| <a id=\"{}\"></a>{code} | {} | {} |\n", code.name().to_lowercase(), code.what(), code.remedy()))
        .collect();
    let page = fs::read_to_string(root().join("docs/codes.md")).unwrap();
    let (head, table) = page.split_once("|---|---|---|\n").unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(root().join("docs/codes.md"), format!("{head}|---|---|---|\n{rows}")).unwrap();
    } else {
        assert_eq!(table, rows, "BLESS=1 writes it anew");
    }
    let explained = String::from_utf8(cli(["explain", "k205"]).stdout).unwrap();
    assert_eq!(explained, format!("K205: {}\nto mend it: {}\n", Code::Unauthenticated.what(), Code::Unauthenticated.remedy()));
    assert_eq!(cli(["explain", "K999"]).status.code(), Some(2));
}

/// The rule of an ACL, and the commands in it by what they are for.
#[test]
fn the_rights_in_redis_are_those_that_the_agent_needs() {
    use kadabra::channel::redis::rights::{self, Need};
    let path = root().join("docs/redis.md");
    let page = fs::read_to_string(&path).unwrap();
    let section = |page: &str, heading: &str, end: &str| {
        let from = page.find(heading).unwrap() + heading.len();
        from..from + page[from..].find(end).unwrap()
    };
    let rule = rights::of_agent(KEYS);
    let words = rule.split(' ').map(|word| if word.contains(['~', '|']) { format!("'{word}'") } else { word.to_owned() });
    let mut lines = vec!["redis-cli ACL SETUSER kadabra on '>secret'".to_owned()];
    for word in words {
        if lines.last().unwrap().len() + word.len() > 110 {
            lines.push(" ".to_owned());
        }
        let line = lines.last_mut().unwrap();
        line.push(' ');
        line.push_str(&word);
    }
    let command = format!("{}\n", lines.join(" \\\n"));
    let what = |need| match need {
        Need::Agent => "the agent, and `kadabra dead-letters`",
        Need::Facts => {
            "asked only: the name in `CLIENT LIST`, whether there are save points, what copies for several publishers take"
        }
        Need::Replicas => "`channel.redis.wait_replicas`, beside those of the agent",
        Need::Import => "`kadabra import`, beside those of the agent",
    };
    let row = |(need, commands): &(Need, &[&str])| {
        let commands: Vec<_> = commands.iter().map(|command| format!("`{}`", command.replace('|', "\\|"))).collect();
        format!("| {} | {} |\n", what(*need), commands.join(" "))
    };
    let mut wanted = page.clone();
    wanted.replace_range(section(&wanted, "these keys and commands, here for the default names of `channel.redis.queue_key` and `channel.redis.inprogress_key`:\n\n```sh\n", "```"), &command);
    wanted.replace_range(
        section(&wanted, "| needed by | commands |\n|---|---|\n", "\n\n"),
        rights::COMMANDS.iter().map(row).collect::<String>().trim_end(),
    );
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, wanted).unwrap();
    } else {
        assert_eq!(page, wanted, "BLESS=1 writes it anew");
    }
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let page = Page::read("docs/operations.md");
    let told: Vec<&str> = page.table("code").map(|row| row[0]).collect();
    let help = String::from_utf8(cli(["--help"]).stdout).unwrap();
    let lines = help.split("Exit codes:\n").nth(1).unwrap().lines();
    let codes = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|code| code.parse::<u8>().is_ok());
    assert_eq!(told, codes.collect::<Vec<_>>());
}
