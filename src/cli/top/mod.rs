//! `kadabra top`: how the agent is, live, in a terminal that is left as it was, however this ends.

mod layout;

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use self::layout::{Shown, rows};
use super::{
    asking::{Asking, NoAnswer},
    complain, or_complain,
    screen::{Row, Tone},
};
use crate::{agent::code, config, failpoint::fail_point, limits::THREADS, observe::log::colour_is_welcome, status::Snapshot};

pub(super) const EXAMPLE: &str = "\
Example:
  kadabra top --config /etc/kadabra/kadabra.toml

Keys:
  q, Esc, Ctrl-C        end
  Up, Down, j, k        scroll what came through
  PageUp, PageDown      the same, ten lines at once";

/// How long after an answer the agent is asked again.
const EVERY: Duration = Duration::from_secs(1);

/// Something to react to.
enum Happened {
    Terminal(Event),
    End,
}

pub(super) fn top(file: Option<&Path>) -> u8 {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    let settings = match or_complain(config::load_status(file, std::env::vars_os())) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if !io::stdout().is_terminal() {
        complain("standard output is no terminal; kadabra status says the same once, and with --json for programs");
        return code::COMMAND_LINE;
    }
    actix_rt::System::new().block_on(async {
        // What is wrong from the start is said where it stays.
        let first = async {
            let asking = Asking::new(&settings)?;
            let first = asking.snapshot().await?;
            Ok::<_, NoAnswer>((asking, first))
        };
        match first.await {
            Ok((asking, first)) => on_a_screen(&asking, first).await,
            Err(error) => {
                complain(error);
                code::UNAVAILABLE
            }
        }
    })
}

async fn on_a_screen(asking: &Asking, first: Snapshot) -> u8 {
    let (happen, happened) = mpsc::unbounded_channel();
    if let Err(error) = hear(&happen) {
        complain(format_args!("cannot start the threads that hear keys and signals: {error}; {THREADS}"));
        return code::FAILED;
    }
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(error) => {
            complain(format_args!("the terminal cannot be used: {error}"));
            return code::OUTPUT;
        }
    };
    let ended = live(asking, first, &mut terminal, happened).await;
    let restored = ratatui::try_restore();
    match ended.and(restored) {
        Ok(()) => 0,
        Err(error) => {
            complain(format_args!("the terminal cannot be used any more: {error}"));
            code::OUTPUT
        }
    }
}

/// Passes on what happens, from threads that end with the process.
fn hear(happen: &mpsc::UnboundedSender<Happened>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let ends = happen.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || while signals.forever().next().is_some() && ends.send(Happened::End).is_ok() {})?;
    let keys = happen.clone();
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            // A terminal that cannot be read any more is gone.
            let next = event::read().map_or(Happened::End, Happened::Terminal);
            let is_last = matches!(next, Happened::End);
            if keys.send(next).is_err() || is_last {
                break;
            }
        }
    })?;
    Ok(())
}

/// Draws until somebody has seen enough.
async fn live(
    asking: &Asking,
    first: Snapshot,
    terminal: &mut DefaultTerminal,
    mut happened: mpsc::UnboundedReceiver<Happened>,
) -> io::Result<()> {
    let colours = colour_is_welcome();
    let mut shown = Shown { snapshot: first, place: asking.place(), first: 0, wrong: None };
    let mut answered = Instant::now();
    let mut next = Box::pin(ask(asking));
    loop {
        terminal.draw(|frame| draw(frame, &mut shown, colours))?;
        fail_point!("top.drawn");
        tokio::select! {
            answer = &mut next => {
                match answer {
                    Ok(snapshot) => {
                        answered = Instant::now();
                        (shown.snapshot, shown.wrong) = (snapshot, None);
                    }
                    Err(error) => shown.wrong = Some((error.to_string(), answered.elapsed())),
                }
                next = Box::pin(ask(asking));
            }
            event = happened.recv() => match event {
                Some(Happened::Terminal(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                    if ends(key) {
                        return Ok(());
                    }
                    shown.scroll(match key.code {
                        KeyCode::Up | KeyCode::Char('k') => -1,
                        KeyCode::Down | KeyCode::Char('j') => 1,
                        KeyCode::PageUp => -10,
                        KeyCode::PageDown => 10,
                        _ => 0,
                    });
                }
                // What has another size is drawn anew.
                Some(Happened::Terminal(_)) => {}
                Some(Happened::End) | None => return Ok(()),
            },
        }
    }
}

async fn ask(asking: &Asking) -> Result<Snapshot, NoAnswer> {
    sleep(EVERY).await;
    asking.snapshot().await
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || (control && key.code == KeyCode::Char('c'))
}

fn draw(frame: &mut Frame<'_>, shown: &mut Shown, colours: bool) {
    let area = frame.area();
    let rows = rows(shown, area.width.into(), area.height.into());
    let lines: Vec<Line<'_>> = rows.into_iter().map(|row| line(row, colours)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn line(row: Row, colours: bool) -> Line<'static> {
    row.into_iter().map(|part| Span::styled(part.text, style(part.tone, colours))).collect()
}

fn style(tone: Tone, colours: bool) -> Style {
    let (modifier, colour) = match tone {
        Tone::Plain => return Style::new(),
        Tone::Faint => (Modifier::DIM, None),
        Tone::Strong => (Modifier::BOLD, None),
        Tone::Good => (Modifier::BOLD, Some(Color::Green)),
        Tone::Attention => (Modifier::BOLD, Some(Color::Yellow)),
        Tone::Bad => (Modifier::BOLD, Some(Color::Red)),
    };
    let style = Style::new().add_modifier(modifier);
    colour.filter(|_| colours).map_or(style, |colour| style.fg(colour))
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;

    fn screen(shown: &mut Shown, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, shown, true)).unwrap();
        let buffer = terminal.backend().buffer();
        let row =
            |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().replace('\u{a0}', " ").trim_end().to_owned();
        (0..height).map(row).collect()
    }

    fn of(snapshot: Snapshot) -> Shown {
        Shown { snapshot, place: "http://127.0.0.1:9636".to_owned(), first: 0, wrong: None }
    }

    #[test]
    fn all_bands_are_on_a_small_screen() {
        for snapshot in [Snapshot::example(), Snapshot::example_held()] {
            let screen = screen(&mut of(snapshot.clone()), 80, 24);
            let text = screen.join("\n");
            let word = if snapshot.verdict.level == crate::status::snapshot::Level::Held { "HELD  " } else { "ATTENTION  " };
            assert!(screen[0].starts_with(word), "{text}");
            for said in [
                "Tally ",
                "influx   1,000,017",
                "clients  8 of",
                "queue  ",
                "metrics  writing",
                "What came through ",
                "requests host=app-1 method=GET",
                "Dead letters",
                "12  newest 3m ago",
                "q ends",
            ] {
                assert!(text.contains(said), "{said}:\n{text}");
            }
            assert!(screen[23].starts_with("q ends"), "{text}");
        }
    }

    #[test]
    fn it_works_at_any_size() {
        for (width, height) in [(1, 1), (10, 3), (20, 60), (300, 4), (200, 100)] {
            let text = screen(&mut of(Snapshot::example()), width, height).join("\n");
            assert!(!text.trim().is_empty(), "{width} x {height}");
        }
    }

    #[test]
    fn what_came_through_scrolls_as_far_as_there_is_something() {
        let mut snapshot = Snapshot::example();
        let one = snapshot.seen.series[0].clone();
        snapshot.seen.series =
            (0..50).map(|number| crate::status::snapshot::SeenSeries { metric: format!("m{number}."), ..one.clone() }).collect();
        let mut shown = of(snapshot);
        shown.scroll(5);
        let text = screen(&mut shown, 80, 24).join("\n");
        assert!(text.contains("What came through") && text.contains("m5.") && !text.contains("m4."), "{text}");
        shown.scroll(1000);
        let text = screen(&mut shown, 80, 24).join("\n");
        assert!(text.contains("m49.") && text.contains("m48."), "{text}");
        shown.scroll(-2000);
        assert!(screen(&mut shown, 80, 24).join("\n").contains("m0."));
    }

    #[test]
    fn an_agent_that_does_not_answer_is_said_and_what_it_said_last_stays() {
        let mut shown = of(Snapshot::example());
        shown.wrong = Some(("no agent answers".to_owned(), Duration::from_secs(65)));
        let screen = screen(&mut shown, 80, 24);
        assert!(screen[23].starts_with("this is 1m 5s old: no agent answers"), "{screen:?}");
        assert!(screen[0].starts_with("ATTENTION"));
    }
}
