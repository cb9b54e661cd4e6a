//! The log on standard error: lines for people or JSON lines, with what libraries say and what panics leave in the same form.
//!
//! Nobody who logs waits for whoever reads it: a thread writes what waits in a bounded [`buffer`].

mod buffer;
mod kept;
mod libraries;
pub(crate) mod lines;
mod panics;
mod refusal;
mod standard_error;
mod terminal;

pub use buffer::Withdrawn;
pub use kept::{KeptLog, Submitted};
pub use libraries::capture_libraries;
pub use panics::install_panic_hook;
pub use refusal::Refusal;

use std::{
    ffi::OsStr,
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use slog::{Level, Logger, o};

use crate::config::{Log, LogFormat};
use buffer::Buffer;
use lines::{Form, Lines, Style, Threshold};
use standard_error::StandardError;

/// The tag of a record whose message has several lines for people, each of them printable: its newlines are kept.
pub const TEXT_BLOCKS: &str = "text blocks";

/// The tag of a record of which a value may have several lines for people: each but the first is indented, so that none can be
/// taken for a record.
pub const INDENTED_LINES: &str = "indented lines";

/// Whether the log is written for people rather than for a log collector.
#[must_use]
pub fn is_for_people(settings: Log) -> bool {
    match settings.format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Terminal => true,
    }
}

/// How long the end of the process waits for the log to be read.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// How long a panic waits for its line to be read, unless somebody has waited in vain before: should the process end
/// with it, there is no later chance.
const PANIC_WITHIN: Duration = Duration::from_millis(100);

/// The log that writes to standard error.
#[derive(Clone)]
pub struct Output {
    level: Threshold,
    style: Style,
    queue: Buffer,
}

impl Output {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(settings: Log) -> io::Result<Self> {
        let style = style(settings);
        let queue = Buffer::start(StandardError, move |gap| lines::gap(style, gap))?;
        Ok(Self { level: settings.level.into(), style, queue })
    }

    /// Has every logger write what is at least so important from now on.
    pub fn set_level(&self, level: Level) {
        self.level.set(level);
        libraries::set_level(level);
    }

    /// The logger for everybody. When nobody reads, or the log cannot be written, and a mebibyte of lines waits, further ones
    /// are dropped; how many is said where they are missing.
    pub fn logger(&self) -> Logger {
        to(self.level.clone(), self.style, self.queue.lines())
    }

    /// The log as a destination: no line is dropped, whatever the level of the log is, and one can tell when it is written.
    #[must_use]
    pub fn kept(&self) -> KeptLog {
        KeptLog::new(|lines| to(Level::Trace, self.style, lines), self.queue.clone())
    }

    /// Waits until what was logged is written, but no longer than a second.
    ///
    /// # Errors
    /// Why the log cannot be written, or could not when it was last tried to show metrics there.
    pub fn flush(&self) -> Result<(), Refusal> {
        self.queue.flush(FLUSH_WITHIN);
        self.queue.unwritten().map_or(Ok(()), Err)
    }

    /// Why the log cannot be written, while there is a line that it has refused.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.queue.refusal()
    }

    fn flush_after_a_panic(&self) {
        if !self.queue.is_stuck() {
            self.queue.flush(PANIC_WITHIN);
        }
    }
}

/// A log without an [`Output`], for who says why there is none: a line is written when it is logged.
pub fn at_once(settings: Log) -> Logger {
    to(settings.level, style(settings), StandardError)
}

fn to(level: impl Into<Threshold>, style: impl Into<Style>, sink: impl Write + Send + 'static) -> Logger {
    Logger::root(Lines::new(level.into(), style.into(), sink), o!())
}

fn style(settings: Log) -> Style {
    let form = if is_for_people(settings) {
        Form::Terminal { colour: io::stderr().is_terminal() && colour_is_welcome() }
    } else {
        Form::Json
    };
    Style { form, priorities: standard_error::is_journald(std::env::var_os("JOURNAL_STREAM").as_deref()) }
}

/// <https://no-color.org>, and terminals that say that they know no colours.
pub(crate) fn colour_is_welcome() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == OsStr::new("dumb"));
    !no_color && !dumb
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        env, io,
        process::{Command, Stdio},
        thread,
    };

    use super::{kept::Collected, *};
    use crate::config::Secret;

    /// What was written, by lines.
    #[derive(Default)]
    pub(crate) struct Paper(Collected);

    impl Paper {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.bytes()).unwrap()
        }

        pub(crate) fn json(&self) -> Vec<serde_json::Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    pub(crate) fn written(level: Level, form: Form, write: impl FnOnce(&Logger)) -> Paper {
        let paper = Paper::default();
        write(&to(level, form, paper.0.clone()));
        paper
    }

    #[test]
    fn a_json_line_has_time_level_message_and_values() {
        let paper = written(Level::Info, Form::Json, |log| {
            let log = log.new(o!("actor" => "publisher"));
            slog::info!(log, "wrote {} points", 5; "batch" => 7, "ok" => true);
        });
        let [line] = paper.json().try_into().unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&"INFO".into(), &"wrote 5 points".into()));
        assert_eq!((&line["batch"], &line["ok"], &line["actor"]), (&7.into(), &true.into(), &"publisher".into()));
        let ts = line["ts"].as_str().unwrap();
        assert_eq!((ts.len(), ts.ends_with('Z')), ("2026-01-02T03:04:05.123456Z".len(), true), "{ts}");
        assert!(ts.parse::<jiff::Timestamp>().is_ok(), "{ts}");
    }

    #[test]
    fn a_terminal_line_has_time_level_message_and_values_in_order() {
        let paper = written(Level::Info, Form::Terminal { colour: false }, |log| {
            let log = log.new(o!("actor" => "publisher"));
            slog::warn!(log, "wrote"; "first" => 1, "second" => "b");
        });
        let text = paper.text();
        let (ts, rest) = text.split_once(' ').unwrap();
        assert_eq!(rest, "WARN wrote, actor: publisher, first: 1, second: b\n");
        assert_eq!((ts.len(), ts.ends_with('Z')), ("2026-01-02T03:04:05.123Z".len(), true), "{ts}");
        assert!(ts.parse::<jiff::Timestamp>().is_ok(), "{ts}");
    }

    #[test]
    fn what_comes_from_outside_cannot_break_a_terminal_line() {
        let hostile = "a\nb\r\x1b[2J\u{9b}31m\u{202e}\u{7f}\t\0ü";
        let paper = written(Level::Info, Form::Terminal { colour: false }, |log| {
            slog::info!(log, "{}", hostile; "shown" => hostile, "formatted" => %hostile);
        });
        let text = paper.text();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert_eq!(text.matches(r"a\nb\r\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\t\u{0}ü").count(), 3, "{text:?}");
    }

    #[test]
    fn only_the_message_of_text_blocks_keeps_its_newlines() {
        let paper = written(Level::Info, Form::Terminal { colour: false }, |log| {
            slog::info!(log, #TEXT_BLOCKS, "{}", "a\n  b\x1b[2J"; "value" => "c\nd");
        });
        let text = paper.text();
        assert!(text.ends_with("INFO a\n  b\\u{1b}[2J, value: c\\nd\n"), "{text:?}");
    }

    #[test]
    fn lines_that_are_to_be_copied_are_lines_and_none_can_be_taken_for_a_record() {
        let paper = written(Level::Info, Form::Terminal { colour: false }, |log| {
            slog::info!(log, #INDENTED_LINES, "{}", "m\r\n2026-01-02"; "value" => %"a\nb\n2026-01-02T03:04:05.123Z ERRO c\x1b[2J");
        });
        let text = paper.text();
        let wanted = "INFO m\\r\n    2026-01-02, value: a\n    b\n    2026-01-02T03:04:05.123Z ERRO c\\u{1b}[2J\n";
        assert!(text.ends_with(wanted), "{text:?}");
    }

    #[test]
    fn what_comes_from_outside_cannot_break_a_json_line() {
        let paper = written(Level::Info, Form::Json, |log| slog::info!(log, "{}", "a\nb\x1b"; "value" => "c\nd"));
        let [line] = paper.json().try_into().unwrap();
        assert_eq!((&line["msg"], &line["value"]), (&"a\nb\x1b".into(), &"c\nd".into()));
    }

    #[test]
    fn colour_is_around_what_is_said_and_never_in_it() {
        let paper = written(Level::Info, Form::Terminal { colour: true }, |log| slog::error!(log, "no\x1b[0m"; "k" => "v"));
        let text = paper.text();
        assert!(text.contains("\x1b[31mERRO\x1b[0m"), "{text:?}");
        assert!(text.contains(r"no\u{1b}[0m"), "{text:?}");
        assert!(text.ends_with("v\n"), "{text:?}");
    }

    #[test]
    fn under_journald_each_line_begins_with_its_priority_whatever_comes_from_outside() {
        let style = |form| Style { form, priorities: true };
        for (form, begins) in [(Form::Json, "{"), (Form::Terminal { colour: false }, "20")] {
            let paper = Paper::default();
            let log = to(Level::Trace, style(form), paper.0.clone());
            slog::crit!(log, "a\n<0>b");
            slog::error!(log, "c");
            slog::warn!(log, "d");
            slog::info!(log, "e");
            slog::debug!(log, "f");
            slog::trace!(log, "g");
            let text = paper.text();
            let priorities: Vec<_> = text.lines().map(|line| line.split_once(begins).unwrap().0).collect();
            assert_eq!(priorities, ["<2>", "<3>", "<4>", "<6>", "<7>", "<7>"], "{text}");
        }
        let paper = Paper::default();
        slog::info!(to(Level::Info, style(Form::Terminal { colour: false }), paper.0.clone()), #TEXT_BLOCKS, "a\n<0>b\n  c");
        let text = paper.text();
        assert!(text.starts_with("<6>20") && text.ends_with("INFO a\n<6><0>b\n<6>  c\n"), "{text}");
    }

    #[test]
    fn lines_below_the_level_are_not_written() {
        let paper = written(Level::Warning, Form::Json, |log| {
            slog::info!(log, "no");
            slog::warn!(log, "yes");
            slog::error!(log, "yes");
        });
        assert_eq!(paper.json().len(), 2);
    }

    #[test]
    fn a_secret_is_not_written() {
        for form in [Form::Json, Form::Terminal { colour: false }] {
            let paper = written(Level::Trace, form, |log| {
                let secret = Secret::new("hunter2");
                slog::info!(log, "{} {:?}", secret, secret; "shown" => %secret, "debugged" => ?secret);
            });
            assert!(!paper.text().contains("hunter2"));
            assert_eq!(paper.text().matches("***").count(), 4);
        }
    }

    #[test]
    fn a_sink_that_fails_hurts_nobody() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        for form in [Form::Json, Form::Terminal { colour: false }, Form::Terminal { colour: true }] {
            let log = to(Level::Trace, form, Closed);
            slog::error!(log, "into the void"; "a" => 1, "b" => 2);
            slog::error!(log, "and again"; "a" => 1, "b" => 2);
        }
    }

    /// This test again, in a process of its own that knows by the variable that it is one.
    fn again(test: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("observe::log::tests::{test}"), "--nocapture"]).env(INSIDE, "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    const INSIDE: &str = "KADABRA_TEST_INSIDE";

    /// Runs itself again, since only a process of its own may lose its standard error.
    #[test]
    fn a_closed_standard_error_kills_nobody() {
        if env::var_os(INSIDE).is_some() {
            io::stdin().read_line(&mut String::new()).unwrap();
            for format in [LogFormat::Auto, LogFormat::Json, LogFormat::Terminal] {
                let output = Output::start(Log { level: Level::Trace, format }).unwrap();
                let log = output.logger();
                install_panic_hook(&output);
                slog::error!(log, "into the void"; "a" => 1, "b" => 2);
                assert!(thread::spawn(|| panic!("into the void")).join().is_err());
                assert!(output.flush().is_err());
            }
            println!("survived");
            return;
        }
        let mut child = again("a_closed_standard_error_kills_nobody").spawn().unwrap();
        drop(child.stderr.take());
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("survived"), "{output:?}");
    }

    /// A second panic while the first one unwinds ends the process on the spot.
    #[test]
    fn the_last_words_of_a_process_that_aborts_are_in_the_log() {
        struct PanicsWhenDropped;
        impl Drop for PanicsWhenDropped {
            fn drop(&mut self) {
                panic!("the last words");
            }
        }
        if env::var_os(INSIDE).is_some() {
            let output = Output::start(Log { level: Level::Trace, format: LogFormat::Json }).unwrap();
            install_panic_hook(&output);
            (0..100).for_each(|line| slog::info!(output.logger(), "before"; "line" => line));
            let _panics_again = PanicsWhenDropped;
            panic!("the first words");
        }
        let output = again("the_last_words_of_a_process_that_aborts_are_in_the_log").output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(log.matches("\"before\"").count(), 100, "{log}");
        assert!(log.contains("the first words") && log.contains("the last words"), "{log}");
    }
}
