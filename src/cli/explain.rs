//! `kadabra explain`: what a code of the log or of the status means.

use super::{Answers, complain};
use crate::{agent::code, codes::Code};

/// Examples of the command.
pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra explain K205
  kadabra explain";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The code, such as K205; without it all of them
    code: Option<String>,
}

pub(super) fn explain(arguments: &Arguments) -> u8 {
    let answers = Answers::default();
    match &arguments.code {
        None => Code::ALL.iter().for_each(|code| answers.say(format_args!("{code}  {}", code.what()))),
        Some(name) => {
            let Some(code) = Code::named(name) else {
                complain(format_args!("there is no code {}; kadabra explain names all of them", crate::quote::quote(name)));
                return code::COMMAND_LINE;
            };
            answers.say(format_args!("{code}: {}\nto mend it: {}", code.what(), code.remedy()));
        }
    }
    answers.code(0)
}
