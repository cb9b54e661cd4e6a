//! The manual page of the configuration, made of the declared keys, as `conf/kadabra.toml` is.

use clap_mangen::roff::{Roff, bold, roman};

use super::{CONFIGURATION, page::title};
use crate::config::{DEFAULT_FILE, INTRODUCTION, schema::SECTIONS};

/// kadabra.toml(5)
pub(super) fn page() -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]).text([roman(format!("{CONFIGURATION} - the configuration of the Kadabra agent"))]);
    roff.control("SH", ["SYNOPSIS"]).text([roman(format!("{DEFAULT_FILE}, {}", DEFAULT_FILE.replace(".toml", ".d/*.toml")))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman("Every key stands below with its default, or with a value that it might have where it has none.")]);
    // The first paragraph is about the file in which the keys are commented out.
    for paragraph in INTRODUCTION.into_iter().skip(1) {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    for section in SECTIONS {
        roff.control("SH", [format!("[{}]", section.path).as_str()]);
        roff.text([roman(section.doc.trim())]);
        for key in section.keys {
            let (takes, value) = key.takes();
            roff.control("TP", []).text([bold(key.name()), roman(format!(" = {value}"))]);
            roff.text([roman(key.doc.trim())]).control("sp", []).text([roman(takes.trim_end_matches(" For example:"))]);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([roman("kadabra(1), kadabra-check(1)")]);
    title(CONFIGURATION, 5) + &roff.to_roff()
}
