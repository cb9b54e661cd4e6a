//! What of a configuration that was loaded anew can hold while the agent runs: [`Loaded::take`]. Which key can is said where the key is
//! declared ([`Reload`]).

use std::{collections::BTreeSet, fmt};

use super::{
    Settings,
    error::ConfigErrors,
    load::{Loaded, cross_check, unfit},
    schema::{self, Key, Reload, keys},
    sections::Guards,
    values::{Found, Values},
};

/// What differs between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What holds from now on.
    pub taken: Vec<Change>,
    /// What waits for a restart.
    pub restart: Vec<Change>,
    /// Of which publishers something is taken that has their pipelines built anew; the only one has no name.
    pub rebuilt: BTreeSet<Option<String>>,
}

/// A difference, as a sentence for people: `batch.max_messages 10000 -> 500`. A secret is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(String);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Loaded {
    /// As much of a `newer` configuration as can hold without a restart, with everything else as it is here; and what differs.
    ///
    /// # Errors
    /// When what can hold at once does not go together with what needs a restart.
    pub fn take(&self, newer: &Self) -> Result<(Self, Changes), ConfigErrors> {
        let (old, mut values) = (&self.values, newer.values.clone());
        let needs_restart = |key: &Key| key.reload == Reload::Restart;
        let stays = |section: &str| schema::find_section(section).is_some_and(|section| section.reload == Reload::Restart);
        values.keep(old, needs_restart, stays);
        let mut changes = Changes::default();
        self.keep_publishers(newer, &mut values, &mut changes);
        for (name, its) in values.of_publishers_mut() {
            if let Some(before) = old.of_publishers().find(|values| values.publisher() == Some(name)) {
                its.keep(before, needs_restart, stays);
            }
        }
        for before in old.all() {
            let of = before.publisher();
            let same = |values: &&Values| values.publisher() == of;
            if let Some(after) = newer.values.all().find(same) {
                changes
                    .restart
                    .extend(differences(before, after).filter(|(key, _)| needs_restart(key)).map(|(_, change)| change));
            }
            let Some(after) = values.all().find(same) else { continue };
            for (key, change) in differences(before, after) {
                let is_of_this = before.has(key.section()) && (of.is_some() || old.of_publishers().next().is_none());
                if key.reload == Reload::Rebuilds && key.section() == Guards::SECTION.path {
                    changes.rebuilt.extend(publishers(old));
                } else if key.reload == Reload::Rebuilds && is_of_this {
                    changes.rebuilt.insert(of.map(ToOwned::to_owned));
                }
                changes.taken.push(change);
            }
        }
        // What is said of all publishers is found at each of them.
        changes.taken.dedup_by_key(|change| change.0.clone());
        let mut problems = Vec::new();
        cross_check(&values, Values::uses, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigErrors::new(problems));
        }
        let settings = Settings::build(&values).ok_or_else(unfit)?;
        Ok((Self { settings, files: newer.files.clone(), values }, changes))
    }

    /// Each publisher is a consumer of the queue, which is told of them when it is opened.
    fn keep_publishers(&self, newer: &Self, values: &mut Values, changes: &mut Changes) {
        let (before, after) = (publishers(&self.values), publishers(&newer.values));
        let called = |name: &Option<String>| schema::said_of_section(name.as_deref());
        for added in after.difference(&before) {
            changes.restart.push(Change(format!("{} is new", called(added))));
        }
        for removed in before.difference(&after) {
            changes.restart.push(Change(format!("{} is not there any more", called(removed))));
        }
        let kept = self.values.of_publishers().filter_map(|its| Some((its.publisher()?.to_owned(), its.clone())));
        let its = values.of_publishers_mut();
        its.retain(|name, _| before.contains(&Some(name.clone())));
        for (name, before) in kept {
            its.entry(name).or_insert(before);
        }
        if before.contains(&None) != after.contains(&None) {
            let of_one = |path: &str| schema::is_of_a_publisher(path);
            values.keep(&self.values, |key| of_one(key.path), of_one);
        }
    }
}

/// The names of several publishers, or that of the only one, which has none.
fn publishers(values: &Values) -> BTreeSet<Option<String>> {
    let several: BTreeSet<_> = values.of_publishers().map(|its| its.publisher().map(ToOwned::to_owned)).collect();
    if several.is_empty() { BTreeSet::from([None]) } else { several }
}

/// The keys that differ in what is used of them.
fn differences<'a>(before: &'a Values, after: &'a Values) -> impl Iterator<Item = (&'static Key, Change)> + 'a {
    let is_used = |values: &Values, key: &Key| values.uses(key.section()) && values.has_key(key);
    let concerned = move |key: &&'static Key| is_used(before, key) || is_used(after, key);
    keys().filter(concerned).filter_map(move |key| {
        let (old, new) = (before.found(key), after.found(key));
        (old.text != new.text).then(|| (key, Change::of(&old, &new)))
    })
}

impl Change {
    fn of(old: &Found, new: &Found) -> Self {
        let shown = |found: &Found| if found.text.is_none() { "not set".to_owned() } else { found.shown() };
        let (path, old, new) = (new.path(), shown(old), shown(new));
        // Of a secret that is another one nothing can be seen.
        Self(if old == new { format!("{path} has changed") } else { format!("{path} {old} -> {new}") })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::config::load_or;

    fn loaded(text: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kadabra.toml");
        fs::write(&file, text).unwrap();
        load_or(Path::new("/nonexistent"), Some(&file), [("HOME", "/home/user")]).unwrap()
    }

    fn taken(before: &str, after: &str) -> (Loaded, Vec<String>, Vec<String>, Vec<Option<String>>) {
        let (loaded, changes) = loaded(before).take(&loaded(after)).unwrap();
        let texts = |changes: &[Change]| changes.iter().map(ToString::to_string).collect();
        (loaded, texts(&changes.taken), texts(&changes.restart), changes.rebuilt.into_iter().collect())
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn what_can_hold_at_once_is_taken_and_what_cannot_waits_for_a_restart() {
        let (loaded, changes, restart, rebuilt) = taken(
            "[agent]\nname = \"a\"\n[batch]\nmax_messages = 100",
            "[agent]\nname = \"b\"\n[batch]\nmax_messages = 200\n[log]\nlevel = \"debug\"\n[publisher.influxdb]\ntimeout = \"6s\"",
        );
        assert_eq!(changes, ["batch.max_messages 100 -> 200", "log.level \"info\" -> \"debug\""]);
        assert_eq!(restart, ["agent.name \"a\" -> \"b\""]);
        assert_eq!(rebuilt, [None]);
        assert_eq!((loaded.settings.agent.name.as_str(), loaded.settings.batch.max_messages), ("a", 200));
        assert!(loaded.effective().to_string().contains("name = \"a\""));
        // A section that is not used changes nothing, and neither does the level of the log for a pipeline.
        assert_eq!(taken("", "[log]\nlevel = \"debug\"").3, []);
    }

    #[test]
    fn no_secret_is_in_what_is_said_of_a_change() {
        let with = |password: &str| {
            format!("[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nusername = \"u\"\npassword = \"{password}\"")
        };
        let (_, changes, restart, rebuilt) = taken(&with("hunter2"), &with("hunter3"));
        assert_eq!(changes, ["publisher.influxdb.password has changed"]);
        assert_eq!((restart.len(), rebuilt), (0, vec![None]));
    }

    #[test]
    fn of_several_publishers_those_are_built_anew_of_which_something_changes() {
        let with = |of_all: &str, eu: &str, us: &str| {
            format!(
                "[guards]\nmax_age = \"{of_all}\"\n[batch]\nmax_messages = 7\n[publishers.eu.batch]\n{eu}\n[publishers.us]\n{us}"
            )
        };
        let before = with("0s", "max_messages = 8", "workers = 2");
        let (_, changes, restart, rebuilt) = taken(&before, &with("0s", "max_messages = 9", "workers = 2"));
        assert_eq!((changes, restart), (vec!["publishers.eu.batch.max_messages 8 -> 9".to_owned()], vec![]));
        assert_eq!(rebuilt, [Some("eu".to_owned())]);
        // What is said of all concerns those that say nothing else, and is said once.
        let (_, changes, _, rebuilt) = taken(&before, &before.replace("max_messages = 7", "max_messages = 70"));
        assert_eq!((changes, rebuilt), (vec!["batch.max_messages 7 -> 70".to_owned()], vec![Some("us".to_owned())]));
        let (_, _, _, rebuilt) = taken(&before, &with("1h", "max_messages = 8", "workers = 2"));
        assert_eq!(rebuilt, [Some("eu".to_owned()), Some("us".to_owned())]);
    }

    #[test]
    fn publishers_come_and_go_with_a_restart_and_what_is_known_of_the_others_holds() {
        let both = "[publishers.eu]\nworkers = 2\n[publishers.us]\nworkers = 2";
        let other = "[publishers.eu]\nworkers = 3\nmax_backlog = 5\n[publishers.asia]\nworkers = 2";
        let (loaded, changes, restart, rebuilt) = taken(both, other);
        assert_eq!(changes, ["publishers.eu.workers 2 -> 3"]);
        assert_eq!(
            restart,
            ["[publishers.asia] is new", "[publishers.us] is not there any more", "publishers.eu.max_backlog not set -> 5"]
        );
        assert_eq!(rebuilt, [Some("eu".to_owned())]);
        let workers: Vec<_> =
            loaded.settings.several.iter().map(|it| (it.name.as_deref().unwrap(), it.publisher.workers)).collect();
        assert_eq!(workers, [("eu", 3), ("us", 2)]);
        assert_eq!(loaded.settings.several[0].consumer.max_backlog, None);

        let (loaded, changes, restart, _) = taken("[publisher]\nworkers = 2", both);
        assert_eq!(changes, NONE);
        assert_eq!(restart, ["[publishers.eu] is new", "[publishers.us] is new", "[publisher] is not there any more"]);
        assert_eq!((loaded.settings.publisher.workers, loaded.settings.several.len()), (2, 0));
        let (loaded, changes, _, _) = taken(both, "[publisher]\nworkers = 4");
        assert_eq!((changes.len(), loaded.settings.several.len()), (0, 2));
    }

    #[test]
    fn what_is_right_with_a_restart_alone_is_not_taken() {
        let before = "[publisher]\ntype = \"influxdb\"";
        let after = format!("{before}\n[publisher.influxdb]\ntimeout = \"1m\"\n[supervisor]\nhang_timeout = \"2m\"");
        let errors = loaded(before).take(&loaded(&after)).unwrap_err().to_string();
        assert!(errors.contains("publisher.influxdb.timeout = \"1m\"") && errors.contains("supervisor.hang_timeout"), "{errors}");
    }
}
