//! A panic is a line of the log like any other, not raw text between the lines.

use std::{
    panic,
    sync::{Mutex, PoisonError},
    thread,
};

use slog::{Logger, error};
use tokio::time::Instant;

use super::{Output, lines};
use crate::{panics, rate_limit::RateLimit};

/// From now on a panic, caught or not, is one line at ERROR instead of the standard library's text. Those that cost one message
/// each are said in few lines, however many messages there are.
pub fn install_panic_hook(output: &Output) {
    let (logger, output) = (output.logger(), output.clone());
    hook(logger, move || output.flush_after_a_panic());
}

fn hook(logger: Logger, said: impl Fn() + Send + Sync + 'static) {
    let over_messages = Mutex::new(RateLimit::default());
    panic::set_hook(Box::new(move |panic| {
        let mut panics = None;
        if panics::is_caught() {
            panics = over_messages.lock().unwrap_or_else(PoisonError::into_inner).note(1, Instant::now());
            if panics.is_none() {
                return;
            }
        }
        let message = panics::words(panic.payload());
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        let say = || match panics {
            None => error!(logger, "a panic"; "message" => &message, "location" => &location, "thread" => &thread),
            Some(panics) => {
                error!(logger, "a panic over a message, which becomes a dead letter"; "message" => &message,
                    "location" => &location, "thread" => &thread, "panics" => panics,
                    "mend" => "please report it, with this line and the dead letter: it is a fault of the agent");
            }
        };
        if lines::formatting() {
            // A second panic in here would abort the process, and the formatters cannot be entered twice on one thread.
            thread::scope(|scope| drop(thread::Builder::new().spawn_scoped(scope, say).map(thread::ScopedJoinHandle::join)));
        } else {
            say();
        }
        // One that is caught does not end the process, and nobody waits for its line.
        if panics.is_none() {
            said();
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::{fmt, panic::AssertUnwindSafe, thread};

    use slog::Level;

    use super::{
        super::{lines::Form, tests::written},
        *,
    };

    struct PanicsWhenShown;

    impl fmt::Display for PanicsWhenShown {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("while it was shown")
        }
    }

    /// One test, since the hook is the process's.
    #[test]
    fn a_panic_is_one_line_of_the_log() {
        let paper = written(Level::Info, Form::Json, |logger| {
            hook(logger.clone(), || {});
            let named = thread::Builder::new().name("arbiter-7".to_owned());
            assert!(named.spawn(|| panic!("two\nlines and {}", 1)).unwrap().join().is_err());
            assert!(panic::catch_unwind(|| panic::panic_any(7)).is_err());
            assert!(panic::catch_unwind(AssertUnwindSafe(|| error!(logger, "{}", PanicsWhenShown))).is_err());
            error!(logger, "the next line");
            for _ in 0..1000 {
                assert!(panics::catch("reading it", || panic!("poison")).is_err());
            }
            drop(panic::take_hook());
        });
        let lines = paper.json();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(lines[4]["msg"], "a panic over a message, which becomes a dead letter");
        assert_eq!(
            (&lines[4]["level"], &lines[4]["message"], &lines[4]["panics"]),
            (&"ERROR".into(), &"poison".into(), &1.into())
        );
        assert_eq!((&lines[0]["msg"], &lines[0]["level"]), (&"a panic".into(), &"ERROR".into()));
        assert_eq!((&lines[0]["message"], &lines[0]["thread"]), (&"two\nlines and 1".into(), &"arbiter-7".into()));
        assert!(lines[0]["location"].as_str().unwrap().starts_with("src/observe/log/panics.rs:"), "{lines:?}");
        assert_eq!(lines[1]["message"], "it gave no message");
        assert_eq!(lines[2]["message"], "while it was shown");
        assert_eq!(lines[3]["msg"], "the next line");
    }
}
