//! The command line: a file a subcommand. Everything a user sees on standard output is written here.

mod allocator;
mod asking;
mod check;
mod dead_letters;
mod explain;
mod import;
mod manual;
mod queue;
mod run;
mod screen;
mod send;
mod signals;
mod status;
mod tap;
mod time;
mod top;
mod trace;

use std::{
    cell::RefCell,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Parser, Subcommand, ValueHint,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{
    agent::code,
    config::{self, ConfigErrors},
};

const EXIT_CODES: &str = "\
Exit codes:
  0    stopped cleanly, or done
  1    status: it works, and somebody should look; trace: the metric stops somewhere
  2    the command line is wrong
  3    status: it is held, nothing is published until something is mended
  4    status: it is starting or stopping
  65   send: some lines of standard input are no messages; all others are queued
  69   the channel cannot be used (run: its port is taken, its file is not usable, its Redis is too old; others: any reason);
       check --online: or the publisher, or the agent refuses what clients push; warnings alone are 0
  70   an actor failed more often than supervisor.max_restarts allows
  71   an actor's thread hung
  74   all went well, but the log, or standard output, could not be written
  75   the stop took longer than agent.shutdown_timeout, or leases could not be given back; import: some are still held
  78   the configuration is wrong
  130  a second signal ended the agent at once

Nothing is lost with any of them: what was not published waits in the channel.";

/// Carries application metrics to InfluxDB without losing any.
///
/// Without a command it runs the agent.
#[derive(Debug, Parser)]
#[command(name = "kadabra", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file; without it /etc/kadabra/kadabra.toml, if there is one
    #[arg(long, value_name = "FILE", global = true, value_parser = path(), value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent until SIGINT or SIGTERM
    #[command(after_help = "Example:\n  kadabra run --config /etc/kadabra/kadabra.toml")]
    Run,
    /// Check the configuration, and with --online the channel and the publisher
    #[command(after_help = "Example:\n  kadabra check --online --config /etc/kadabra/kadabra.toml")]
    Check(check::Arguments),
    /// Say how the running agent is
    #[command(after_help = status::EXAMPLE)]
    Status(status::Arguments),
    /// Follow what comes through the running agent
    #[command(after_help = tap::EXAMPLE)]
    Tap(tap::Arguments),
    /// Watch the running agent in a terminal
    #[command(after_help = top::EXAMPLE)]
    Top,
    /// Say where a metric is, hop by hop, and what to do where it stops
    #[command(after_help = trace::EXAMPLE)]
    Trace(trace::Arguments),
    /// Queue a message, or as many as come on standard input, as a Kadabra client does
    #[command(after_help = send::EXAMPLE)]
    Send(send::Arguments),
    /// Move a queue out of a Redis into the agent's own file, each message exactly once
    #[command(after_help = import::EXAMPLE)]
    Import(import::Arguments),
    /// Look at what was set aside, queue it anew, delete it, or write it down
    #[command(after_help = dead_letters::EXAMPLE)]
    DeadLetters(dead_letters::Arguments),
    /// Work on what waits in a queue
    Queue(queue::Arguments),
    /// Say what a code of the log or of the status means
    #[command(after_help = explain::EXAMPLE)]
    Explain(explain::Arguments),
    /// Print what a shell needs to complete the command line
    #[command(after_help = manual::COMPLETIONS_EXAMPLE)]
    Completions(manual::Completions),
    /// Print a manual page, or write all of them and the completions as a package has them
    #[command(after_help = manual::EXAMPLE)]
    Man(manual::Arguments),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return ExitCode::from(help_or_mistake(&answer)),
    };
    signals::outlive_the_file_size_limit();
    let config = arguments.config.as_deref();
    let code = match arguments.command {
        None | Some(Command::Run) => run::run(config),
        Some(Command::Check(arguments)) => check::check(config, &arguments),
        Some(Command::Status(arguments)) => status::status(config, &arguments),
        Some(Command::Tap(arguments)) => tap::tap(config, &arguments),
        Some(Command::Top) => top::top(config),
        Some(Command::Trace(arguments)) => trace::trace(config, &arguments),
        Some(Command::Send(arguments)) => send::send(config, &arguments),
        Some(Command::Import(arguments)) => import::import(config, &arguments),
        Some(Command::DeadLetters(arguments)) => dead_letters::dead_letters(config, &arguments),
        Some(Command::Queue(arguments)) => queue::queue(config, &arguments),
        Some(Command::Explain(arguments)) => explain::explain(&arguments),
        Some(Command::Completions(arguments)) => manual::completions(&arguments),
        Some(Command::Man(arguments)) => manual::man(&arguments),
    };
    ExitCode::from(code)
}

/// Prints what somebody has asked for, such as the help, or what is wrong with the command line.
fn help_or_mistake(answer: &clap::Error) -> u8 {
    let written = answer.print().and_then(|()| io::stdout().flush());
    let answers = Answers { failed: RefCell::new(written.err()) };
    answers.code(u8::try_from(answer.exit_code()).unwrap_or(u8::MAX))
}

/// A path in the command line: `~/` is known, and a relative one starts in the folder of the shell.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| config::path::of_a_command_line(&text))
}

/// What was loaded of the configuration, or its exit code once it is said what is wrong with it.
fn or_complain<T>(loaded: Result<T, ConfigErrors>) -> Result<T, u8> {
    loaded.map_err(|errors| {
        complain(&errors);
        code::CONFIGURATION
    })
}

/// What a command says on standard output, and whether that could be written.
#[derive(Default)]
struct Answers {
    failed: RefCell<Option<io::Error>>,
}

impl Answers {
    /// Says it, unless something before could not be written.
    fn say(&self, text: impl std::fmt::Display) {
        let mut failed = self.failed.borrow_mut();
        if failed.is_none() {
            let mut output = io::stdout().lock();
            *failed = writeln!(output, "{text}").and_then(|()| output.flush()).err();
        }
    }

    /// Whether something could not be written.
    fn failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// The exit code of a command that ends with this one, or that its answers could not be written.
    fn code(self, code: u8) -> u8 {
        match self.failed.into_inner() {
            None => code,
            Some(why) => {
                complain(format_args!("standard output cannot be written: {why}"));
                if code == 0 { code::OUTPUT } else { code }
            }
        }
    }
}

/// Prints to standard error.
fn complain(text: impl std::fmt::Display) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
