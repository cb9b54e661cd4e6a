//! A panic is a line of the log like any other, not raw text between the lines.

use std::{panic, thread};

use slog::{Logger, error};

use super::{Output, lines};

/// From now on a panic, caught or not, is one line at ERROR instead of the standard library's text.
pub fn install_panic_hook(output: &Output) {
    let (logger, output) = (output.logger(), output.clone());
    hook(logger, move || output.flush_after_a_panic());
}

fn hook(logger: Logger, said: impl Fn() + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "of a type that is not text".to_owned());
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        let say = || error!(logger, "a panic"; "message" => &message, "location" => &location, "thread" => &thread);
        if lines::formatting() {
            // A second panic in here would abort the process, and the formatters cannot be entered twice on one thread.
            thread::scope(|scope| drop(thread::Builder::new().spawn_scoped(scope, say).map(thread::ScopedJoinHandle::join)));
        } else {
            say();
        }
        said();
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
            drop(panic::take_hook());
        });
        let lines = paper.json();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!((&lines[0]["msg"], &lines[0]["level"]), (&"a panic".into(), &"ERROR".into()));
        assert_eq!((&lines[0]["message"], &lines[0]["thread"]), (&"two\nlines and 1".into(), &"arbiter-7".into()));
        assert!(lines[0]["location"].as_str().unwrap().starts_with("src/observe/log/panics.rs:"), "{lines:?}");
        assert_eq!(lines[1]["message"], "of a type that is not text");
        assert_eq!(lines[2]["message"], "while it was shown");
        assert_eq!(lines[3]["msg"], "the next line");
    }
}
