//! The documented configuration, `conf/kadabra.toml`, made of the declarations, so that the two cannot differ.

use std::fmt::Write as _;

use super::load::DEFAULT_FILE;
use super::schema::{Fallback, Key, Reload, SECTIONS, ValueType};
use super::sections::Consumer;
use super::value_type::quoted;

const WIDTH: usize = 110;

/// What is to know before the keys, a paragraph each.
pub(crate) const INTRODUCTION: [&str; 5] = [
    "Every key stands here at its default, commented out; nothing needs to be set but what should differ. `kadabra check` says what is \
     wrong with a configuration, and `kadabra check --show` what holds and where each value came from.",
    "Each file in kadabra.d beside this one whose name ends in .toml overrides it key by key, in the order of the bytes of their names, \
     so that 20-eu.toml holds over 10-site.toml; names that begin with a dot are left out. Another file has the folder of its name: \
     for --config /srv/agent.toml it is /srv/agent.d.",
    "An environment variable overrides these files: KADABRA_, the section and the key in capitals, two underscores for each dot, as in \
     KADABRA_CHANNEL__REDIS__URL. An empty variable unsets a key that has no default. Any other variable whose name starts \
     with KADABRA_ is an error, but for those that Kubernetes and Docker set for a service whose name begins with kadabra: \
     KADABRA_SERVICE_HOST, KADABRA_AGENT_SERVICE_PORT, KADABRA_PORT_6379_TCP, KADABRA_ENV_PATH and the like, and KADABRA_PORT and \
     KADABRA_NAME where their values are such as tcp://10.0.0.1:6379 and /web/kadabra.",
    "A duration has a unit: ms, s, m (or min), h or d, or the word for it; \"90s\", \"1 minute\" and \"1h 30m\" are durations. A size \
     has one too: B, KiB, MiB, GiB or TiB, which are powers of 1024, or KB, MB, GB or TB, for short K, M, G or T, which are powers of \
     1000: \"4MiB\" is 4,194,304 bytes, \"4MB\" and \"4M\" are 4,000,000. Both stand in quotes, as all does but numbers, true and \
     false. A path is absolute or begins with ~/, which is HOME of whoever starts the agent; a relative one is refused, since it would \
     depend on where the agent is started.",
    "The agent reads these files when it starts, and when it is told to reload them: systemctl reload kadabra, or SIGHUP. What is wrong \
     then is said, and nothing changes. A change of a key of which it is said below that it needs a restart is named, and waits for one.",
];

/// Every key with what it does, what it takes and its default, commented out; as a file, it changes nothing.
#[must_use]
pub fn documented() -> String {
    let mut text = format!("# {DEFAULT_FILE}: the configuration of the Kadabra agent.\n#\n");
    for paragraph in INTRODUCTION {
        wrapped(&mut text, paragraph);
        text.push_str("#\n");
    }
    text.truncate(text.len() - 2);
    for section in SECTIONS {
        text.push_str("\n\n");
        wrapped(&mut text, section.doc);
        // NAME is none that a publisher may have.
        let example = if section.path == Consumer::SECTION.path { "# " } else { "" };
        let _ = writeln!(text, "{example}[{}]", section.path);
        for key in section.keys {
            text.push('\n');
            entry(&mut text, key);
        }
    }
    text
}

fn entry(text: &mut String, key: &Key) {
    wrapped(text, key.doc);
    let (takes, value) = key.takes();
    wrapped(text, &takes);
    let _ = writeln!(text, "# {} = {value}", key.name());
}

impl Key {
    /// What the key takes, with what there is such a key, and what it is when nothing sets it, as sentences; and its default, or a
    /// value that it might have, as a file has it.
    pub(crate) fn takes(&self) -> (String, String) {
        let (note, value) = match self.default {
            Fallback::Is(value) => (String::new(), value.to_owned()),
            Fallback::HostName => (" Default: the host's name. For example:".to_owned(), "web-1".to_owned()),
            Fallback::StateFile(name) => {
                let note = format!(
                    " Default: {name} in $STATE_DIRECTORY (which systemd sets), else in $XDG_STATE_HOME/kadabra, else in ~/.local/state/kadabra. For example:"
                );
                (note, format!("/var/lib/kadabra/{name}"))
            }
            Fallback::Unset(example) => (" Not set by default. For example:".to_owned(), example.to_owned()),
        };
        let only =
            self.only.map(|only| format!(" Only with {} = {}.", only.chooser, only.words.join(" or "))).unwrap_or_default();
        let bare = matches!(self.value_type, ValueType::Number { .. } | ValueType::Flag);
        let restart = if self.reload == Reload::Restart { " A change needs a restart." } else { "" };
        (format!("Takes: {}.{only}{restart}{note}", self.value_type.takes()), if bare { value } else { quoted(&value) })
    }
}

fn wrapped(text: &mut String, paragraph: &str) {
    let mut line = String::from("#");
    for word in paragraph.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
