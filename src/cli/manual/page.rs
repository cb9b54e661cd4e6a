//! The manual page of a command.

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{CONFIGURATION, Page};

/// The page of a command and of all below it.
pub(super) fn of_all(command: Command) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    with_those_below(&command, "kadabra", "", &mut pages);
    pages
}

fn with_those_below(command: &Command, name: &str, parent: &str, pages: &mut Vec<Page>) {
    pages.push(Page { name: name.to_owned(), section: 1, text: page(command, name, parent) });
    for below in command.get_subcommands() {
        with_those_below(below, &format!("{name}-{}", below.get_name()), name, pages);
    }
}

fn page(command: &Command, name: &str, parent: &str) -> String {
    // What stands below a heading of its own is not one of clap's.
    let said = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let plain = command.clone().after_help("").display_name(name.to_owned());
    let man = Man::new(plain);
    let mut text = title(name, 1).into_bytes();
    // Nothing fails that is written into memory.
    drop(man.render_name_section(&mut text));
    drop(man.render_synopsis_section(&mut text));
    drop(man.render_description_section(&mut text));
    drop(man.render_options_section(&mut text));
    let mut roff = Roff::new();
    if command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        for below in command.get_subcommands() {
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            roff.control("TP", []).text([bold(format!("{name}-{}", below.get_name())), roman("(1)")]).text([roman(about)]);
        }
    }
    after(&mut roff, &said);
    roff.control("SH", ["SEE ALSO"]);
    let others = if parent.is_empty() { String::new() } else { format!("{parent}(1), ") };
    roff.text([roman(format!("{others}{CONFIGURATION}(5)"))]);
    // Beside an empty line no line need be ended, which mandoc warns of.
    String::from_utf8_lossy(&text).replace("\n.br\n\n.br\n", "\n.sp\n") + &roff.to_roff()
}

/// The line with which a page begins. Without a date: the version says more, and the same program always makes the same page.
pub(super) fn title(name: &str, section: u8) -> String {
    format!(".TH {} {section} \"\" \"kadabra {}\" Kadabra\n", name.to_uppercase(), env!("CARGO_PKG_VERSION"))
}

/// What the help says behind everything else: headings that end with a colon, and below each lines that are kept as they are.
fn after(roff: &mut Roff, said: &str) {
    let (mut kept, mut gap) = (false, false);
    for line in said.lines() {
        let heading = line.strip_suffix(':').filter(|_| !line.starts_with(' '));
        let keep = line.starts_with(' ');
        if kept && !keep {
            roff.control("fi", []);
        }
        if !kept && keep {
            roff.control("nf", []);
        }
        kept = keep;
        match heading {
            Some(heading) => drop(roff.control("SH", [heading.to_uppercase().as_str()])),
            None if line.is_empty() => {}
            None => {
                if gap && !keep {
                    roff.control("PP", []);
                }
                roff.text([roman(line)]);
            }
        }
        gap = line.is_empty();
    }
    if kept {
        roff.control("fi", []);
    }
}
