//! `kadabra status`: how the agent of this configuration is, for people or as JSON, and as an exit code.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use ratatui::crossterm::terminal;

use super::{
    Answers,
    asking::{Asking, NoAnswer},
    complain, or_complain,
    screen::{self, Part, Row, Tone},
};
use crate::{
    agent::code,
    config,
    observe::log::colour_is_welcome,
    quote::printable_json,
    status::{
        Snapshot,
        snapshot::{AgentState, Level},
    },
};

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra status --config /etc/kadabra/kadabra.toml
  kadabra status --json | jq .channel.oldest_age_seconds

Exit codes:
  0   all is well
  1   it works, and somebody should look; what is wrong is said
  3   it is held: nothing is published until something is mended
  4   it is starting or stopping
  69  no agent answers, or the answer cannot be used
  78  the configuration is wrong";

/// So many rows of what came through, with their head.
const SEEN: usize = 11;
/// Where standard output is no terminal.
const WIDTH_ELSEWHERE: usize = 120;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// All of it as JSON, as /api/status answers
    #[arg(long)]
    json: bool,
}

pub(super) fn status(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let settings = match or_complain(config::load_status(file, std::env::vars_os())) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let answers = Answers::default();
    let asked = actix_rt::System::new().block_on(async {
        let asking = Asking::new(&settings)?;
        let json = asking.json().await?;
        let snapshot = asking.read(&json)?;
        if arguments.json {
            answers.say(printable_json(String::from_utf8_lossy(&json).trim_end()));
        } else {
            say(&snapshot, &answers);
        }
        Ok::<_, NoAnswer>(health(&snapshot))
    });
    match asked {
        Ok(code) => answers.code(code),
        Err(error) => {
            complain(error);
            code::UNAVAILABLE
        }
    }
}

/// The exit code that says how well the agent is.
fn health(snapshot: &Snapshot) -> u8 {
    match (snapshot.verdict.level, snapshot.agent.state) {
        (Level::Held, _) | (_, AgentState::Held) => code::HELD,
        (Level::Stopping, _) | (_, AgentState::Stopping | AgentState::Starting) => code::NOT_YET,
        (Level::Attention, _) => code::ATTENTION,
        (Level::Well, AgentState::Running) => 0,
    }
}

fn say(snapshot: &Snapshot, answers: &Answers) {
    let is_terminal = io::stdout().is_terminal();
    let width = Some(()).filter(|()| is_terminal).and_then(|()| terminal::size().ok()).map(|(columns, _)| usize::from(columns));
    let rows = rows(snapshot, width.filter(|width| *width > 0).unwrap_or(WIDTH_ELSEWHERE));
    let colours = is_terminal && colour_is_welcome();
    let lines: Vec<_> = rows.iter().map(|row| line(row, colours)).collect();
    answers.say(lines.join("\n"));
}

fn rows(snapshot: &Snapshot, width: usize) -> Vec<Row> {
    let mut rows = screen::verdict(snapshot, width);
    rows.extend(screen::agent(snapshot, width));
    let seen = if snapshot.seen.counted { screen::seen(snapshot, width) } else { Vec::new() };
    let bands = [
        screen::troubles(snapshot, width),
        screen::tally(snapshot, width),
        screen::flow(snapshot, width),
        seen.into_iter().take(SEEN).collect(),
        screen::dead_letters(snapshot, width),
    ];
    for band in bands {
        if !band.is_empty() {
            rows.push(Row::new());
            rows.extend(band);
        }
    }
    rows
}

fn line(row: &[Part], colours: bool) -> String {
    let mut line = String::new();
    for Part { text, tone } in row {
        let number = match tone {
            Tone::Plain => "",
            Tone::Faint => "2",
            Tone::Strong => "1",
            Tone::Good => "1;32",
            Tone::Attention => "1;33",
            Tone::Bad => "1;31",
        };
        if colours && !number.is_empty() {
            line += &format!("\u{1b}[{number}m{text}\u{1b}[0m");
        } else {
            line += text;
        }
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(snapshot: &Snapshot, width: usize) -> String {
        rows(snapshot, width).iter().map(|row| line(row, false) + "\n").collect()
    }

    #[test]
    fn all_is_said_within_the_width_of_a_terminal_and_drives_none() {
        for snapshot in [Snapshot::example(), Snapshot::example_held()] {
            for width in [40, 80, 120] {
                let text = text(&snapshot, width);
                assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
                assert!(!text.chars().any(|c| c.is_control() && c != '\n') && !text.contains('\u{202e}'), "{text}");
            }
        }
    }

    #[test]
    fn the_bands_say_what_the_page_says() {
        let well = text(&Snapshot::example(), 120);
        for said in [
            "ATTENTION  messages wait long in /var/lib/kadabra/queue.db\n  to mend it: see why",
            concat!("kadabra ", env!("CARGO_PKG_VERSION"), " on app-1, process 4711, up 1day"),
            "K315 metrics: for ",
            "K425 clients spoke HTTP to the channel",
            "Tally     accepted  = published  + set aside  + dropped  + waiting  in hand\ninflux   1,000,017      999,993           12",
            "clients  8\u{a0}of 1,024 connected; refused: 3 clients (http)",
            "statsd   4990 metrics aggregated from 5000 datagrams, 4 refused, 3 datagrams dropped by the kernel",
            "queue    12 messages wait, the oldest for ",
            "influx   writing, 1,240/s, p99 ",
            "batcher of influx is up, restarted: 1 panicked (1 of 10 used)",
            "12  newest 3m ago  influx  userSignup: InfluxDB refused it: field type conflict",
        ] {
            assert!(well.replace('\u{a0}', " ").contains(&said.replace('\u{a0}', " ")), "{said}:\n{well}");
        }
        let held = text(&Snapshot::example_held(), 120);
        assert!(held.starts_with("HELD  held for 4m: influx: influxdb") && held.contains("influx   held, "), "{held}");
        let mut wrong = Snapshot::example();
        wrong.publishers[0].tally.difference = -2;
        assert!(text(&wrong, 120).contains("DIFFERENCE -2"));
    }

    #[test]
    fn health_is_an_exit_code() {
        let mut snapshot = Snapshot::example();
        assert_eq!(health(&snapshot), 1);
        snapshot.verdict.level = Level::Well;
        assert_eq!(health(&snapshot), 0);
        snapshot.agent.state = AgentState::Starting;
        assert_eq!(health(&snapshot), 4);
        assert_eq!(health(&Snapshot::example_held()), 3);
    }

    #[test]
    fn colours_are_beside_the_words() {
        let row = [("HELD", Tone::Bad), (" x ", Tone::Plain)].map(|(text, tone)| Part { text: text.to_owned(), tone });
        assert_eq!(line(&row, true), "\u{1b}[1;31mHELD\u{1b}[0m x");
        assert_eq!(line(&row, false), "HELD x");
    }
}
