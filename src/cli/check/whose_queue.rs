//! Whose queue `check` looks at: by default each user has one of its own, and so has a unit of systemd.

use std::path::Path;

use crate::config::DEFAULT_FILE;

/// The folder that systemd makes for the unit, as `conf/systemd/kadabra.service` has it. Where systemd makes up the user, it is a link.
pub(super) const OF_THE_UNIT: &str = "/var/lib/kadabra";

/// That a queue in its default place is not the one of the unit, of which there is a folder on this machine; and how that is looked at.
pub(super) fn not_of_the_unit(queue: &Path, unit: &Path, file: Option<&Path>) -> Option<(String, String)> {
    let is_of_unit =
        queue.parent().is_some_and(|folder| folder == unit || folder.canonicalize().ok() == unit.canonicalize().ok());
    if is_of_unit || unit.symlink_metadata().is_err() {
        return None;
    }
    let (queue, folder) = (queue.display(), unit.display());
    let program = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/kadabra".into());
    Some((
        format!("this is the queue of the user who asks, in {queue}; that of the unit kadabra is another, in {folder}"),
        format!(
            "ask as the unit's user: sudo systemd-run --pipe --wait -p DynamicUser=yes -p User=kadabra -p StateDirectory=kadabra \
             -p StateDirectoryMode=0700 {} check --online --config {}",
            program.display(),
            file.unwrap_or_else(|| Path::new(DEFAULT_FILE)).display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_another_queue_than_that_of_a_unit_which_is_there_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let (unit, private) = (folder.path().join("kadabra"), folder.path().join("private"));
        let own = folder.path().join("home/queue.db");
        assert_eq!(not_of_the_unit(&own, &unit, None), None, "there is no unit");
        fs::create_dir(&private).unwrap();
        std::os::unix::fs::symlink(&private, &unit).unwrap();
        for of_unit in [&unit, &private] {
            assert_eq!(not_of_the_unit(&of_unit.join("queue.db"), &unit, None), None);
        }
        let (what, mend) = not_of_the_unit(&own, &unit, Some(Path::new("/etc/k.toml"))).unwrap();
        assert!(what.contains("home/queue.db") && what.ends_with("/kadabra"), "{what}");
        assert!(mend.contains("sudo systemd-run") && mend.ends_with(" check --online --config /etc/k.toml"), "{mend}");
    }
}
