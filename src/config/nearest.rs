//! The name that was probably meant.

/// The nearest of `names` (dotted paths) to a path that is none of them: a slip in the last segment, a path that lacks its
/// beginning, one that lacks a segment in between, a slip anywhere, or a key in the wrong section; in this order. Several only
/// where they are equally near, and none rather than a far guess.
pub(super) fn path<'a>(wrong: &str, names: &[&'a str]) -> Vec<&'a str> {
    let wrong = wrong.to_lowercase();
    let (parent, last) = split(&wrong);
    let siblings: Vec<_> = names.iter().copied().filter(|name| split(name).0 == parent).collect();
    if let Some(slip) = closest(last, siblings.iter().map(|name| (split(name).1, *name)), 3) {
        return vec![slip];
    }
    if let Some(whole) = names.iter().copied().find(|name| name.strip_suffix(&wrong).is_some_and(|rest| rest.ends_with('.'))) {
        return vec![whole];
    }
    let within = |name: &&str| !parent.is_empty() && name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
    let below: Vec<_> = names.iter().copied().filter(within).filter(|name| split(name).0 != parent).collect();
    if let Some(slip) = closest(last, below.iter().map(|name| (split(name).1, *name)), 3) {
        return below.into_iter().filter(|name| split(name).1 == split(slip).1).collect();
    }
    // In a section that is right, a slip in the whole path would be a far guess.
    if (parent.is_empty() || siblings.is_empty())
        && let Some(slip) = closest(&wrong, names.iter().map(|name| (*name, *name)), 5)
    {
        return vec![slip];
    }
    let mut same = names.iter().copied().filter(|name| split(name).1 == last);
    same.next().filter(|_| same.next().is_none()).into_iter().collect()
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
            ("publisher.url", "publisher.influxdb.url"),
            ("publisher.gzp", "publisher.influxdb.gzip"),
        ] {
            assert_eq!(path(wrong, NAMES), [meant], "{wrong}");
        }
    }

    #[test]
    fn does_not_guess_far() {
        for wrong in ["publisher.influxdb.db", "url", "batch.size", ""] {
            assert!(path(wrong, NAMES).iter().all(|meant| wrong == "url" && meant.ends_with(".url")), "{wrong}");
        }
        assert_eq!(word("loud", &["trace", "info"]), None);
        assert_eq!(word("tarce", &["trace", "info"]), Some("trace"));
    }
}
