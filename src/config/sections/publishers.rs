//! `[publishers.<name>]`: what only one of several publishers has. The rest of such a section is that of `[publisher]`.

use super::COUNT;
use crate::config::{
    schema::Fallback::{Is, Unset},
    value_type::ValueType,
};

const PATTERNS: ValueType = ValueType::List {
    expected: "patterns such as \"http_*\" for a metric's name, or \"host=web-*\" for a dimension's value; * stands for any text, ? for one character",
    fits: |pattern| !pattern.is_empty() && pattern.len() <= 1000 && !pattern.starts_with('='),
};

section! {
    /// Several publishers, each with a name of its own in the place of NAME, instead of [publisher]: every message goes to
    /// each of them. Beside the keys below, [publishers.NAME] has those of [publisher], and [publishers.NAME.influxdb],
    /// [publishers.NAME.victoriametrics] and [publishers.NAME.debug] those of their kind; what [publishers.NAME.batch] does not set is as in [batch]. A name has 1 to
    /// 32 small letters, digits, _ and -.
    "publishers.NAME" pub struct Consumer derives Eq {
        /// Whether the agent ends when this publisher fails more often than supervisor.max_restarts allows, and whether
        /// nothing more is given out while it has max_backlog messages waiting. With false all others go on without it: it
        /// is tried again, and its oldest messages are dropped at the bound, counted and logged.
        required: bool = Is("true"), ValueType::Flag, on reload Restart;
        /// How many messages may wait for this publisher alone. Without it as many as the channel has room for: set it
        /// for one that may be away for long.
        max_backlog: Option<usize> = Unset("1000000"), COUNT, on reload Restart;
        /// Only the metrics that one of these patterns fits are published here.
        only: Vec<String> = Unset("http_*, host=web-*"), PATTERNS;
        /// The metrics that one of these patterns fits are not published here.
        except: Vec<String> = Unset("debug_*"), PATTERNS;
        /// The share of the messages whose timers are published here, always the same of the same messages. Counters are all
        /// published: a sum without some of them would be wrong.
        sample: Option<String> = Unset("10%"), ValueType::Text {
            expected: "a share in per cent such as \"10%\", above 0% and up to 100%",
            fits: |text| share(text).is_some(),
        };
    }
    on reload Rebuilds;
}

impl Consumer {
    /// What the only publisher is.
    pub(in crate::config) fn of_the_only_one() -> Self {
        Self { required: true, max_backlog: None, only: Vec::new(), except: Vec::new(), sample: None }
    }

    /// One with these filters.
    #[cfg(test)]
    pub(crate) fn that_keeps(only: &[&str], except: &[&str], sample: Option<&str>) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self { only: texts(only), except: texts(except), sample: sample.map(ToOwned::to_owned), ..Self::of_the_only_one() }
    }

    /// The share of messages whose timers are published, above 0 and below 1; absent where it is all of them.
    #[must_use]
    pub fn sampled_share(&self) -> Option<f64> {
        self.sample.as_deref().and_then(share).filter(|share| *share < 1.0)
    }
}

fn share(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    (percent > 0.0 && percent <= 100.0).then_some(percent / 100.0)
}
