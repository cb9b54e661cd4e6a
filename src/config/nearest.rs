//! The name that was probably meant.

/// The nearest of `names` (dotted paths) to a path that is none of them: a slip in the last segment, a path that lacks its
/// beginning, a slip anywhere, or a key in the wrong section; in this order. `None` rather than a far guess.
pub(super) fn path<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    let (parent, last) = split(&wrong);
    let siblings: Vec<_> = names.iter().copied().filter(|name| split(name).0 == parent).collect();
    let slip = closest(last, siblings.iter().map(|name| (split(name).1, *name)), 3);
    slip.or_else(|| names.iter().copied().find(|name| name.strip_suffix(&wrong).is_some_and(|rest| rest.ends_with('.'))))
        // In a section that is right, a slip in the whole path would be a far guess.
        .or_else(|| {
            let misplaced = parent.is_empty() || siblings.is_empty();
            misplaced.then(|| closest(&wrong, names.iter().map(|name| (*name, *name)), 5)).flatten()
        })
        .or_else(|| {
            let mut same = names.iter().copied().filter(|name| split(name).1 == last);
            same.next().filter(|_| same.next().is_none())
        })
}

/// The nearest of `names` to a word that is none of them.
pub(super) fn word<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    closest(&wrong.to_lowercase(), names.iter().map(|name| (*name, *name)), 3)
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The candidate with the fewest slips, if those are at most one in `share` letters (one slip is always forgiven in words of three or more).
fn closest<'a>(wrong: &str, candidates: impl Iterator<Item = (&'a str, &'a str)>, share: usize) -> Option<&'a str> {
    let letters = wrong.chars().count();
    let allowed = (letters / share).max(usize::from(letters >= 3));
    candidates
        .map(|(spelled, name)| (strsim::osa_distance(wrong, spelled), name))
        .filter(|(slips, _)| *slips <= allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] =
        &["channel.redis.url", "publisher.influxdb.url", "publisher.influxdb.gzip", "log.level", "batch.max_messages"];

    #[test]
    fn finds_what_was_meant() {
        for (wrong, meant) in [
            ("batch.max_mesages", "batch.max_messages"),
            ("redis.url", "channel.redis.url"),
            ("log_level", "log.level"),
            ("LOG.LEVEL", "log.level"),
            ("batch.level", "log.level"),
            ("publisher.influxdb.uri", "publisher.influxdb.url"),
        ] {
            assert_eq!(path(wrong, NAMES), Some(meant), "{wrong}");
        }
    }

    #[test]
    fn does_not_guess_far() {
        for wrong in ["publisher.influxdb.db", "url", "batch.size", ""] {
            assert!(path(wrong, NAMES).is_none_or(|meant| wrong == "url" && meant.ends_with(".url")), "{wrong}");
        }
        assert_eq!(word("loud", &["trace", "info"]), None);
        assert_eq!(word("tarce", &["trace", "info"]), Some("trace"));
    }
}
