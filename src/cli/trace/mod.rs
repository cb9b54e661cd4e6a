//! `kadabra trace`: where a metric is on its way from a client to a database, hop by hop, and what to do at the hop where it stops.
//! What is known is gathered in [`evidence`], and judged in [`hops`].

mod evidence;
mod hops;

use std::{path::Path, time::Duration};

use self::hops::{Found, judge};
use super::{Answers, or_complain};
use crate::{agent::code, config, quote::printable};

pub(super) const EXAMPLE: &str = "\
Examples:
  kadabra trace userSignup --config /etc/kadabra/kadabra.toml
  kadabra trace userSignup --wait 60

Exit codes:
  0   it was seen, and nothing stops it
  1   it stops; where, and what to do, is said
  78  the configuration is wrong";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The metric's name, as the application sends it
    #[arg(value_name = "NAME")]
    name: String,
    /// For how many seconds to watch whether it comes through
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    wait: u16,
}

pub(super) fn trace(file: Option<&Path>, arguments: &Arguments) -> u8 {
    let loaded = match or_complain(config::load(file, std::env::vars_os())) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let Arguments { name, wait } = arguments;
    let gathered = evidence::gather(&loaded.settings, name, Duration::from_secs((*wait).into()));
    let hops = judge(&actix_rt::System::new().block_on(gathered));
    let answers = Answers::default();
    for hop in &hops {
        answers.say(hop);
    }
    let name = printable(name);
    match hops.iter().find(|hop| matches!(hop.found, Found::Stops { .. })) {
        None => {
            answers.say(format_args!("nothing stops {name}"));
            answers.code(0)
        }
        Some(hop) => {
            answers.say(format_args!("{name} stops at the {}", printable(&hop.name)));
            answers.code(code::ATTENTION)
        }
    }
}
