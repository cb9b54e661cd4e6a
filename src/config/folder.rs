//! The folder beside the file of configuration, `kadabra.d` for `kadabra.toml`, whose files hold over it: what a package, a
//! configuration tool and an operator each say is in a file of its own.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The files in the folder beside `file`, as a shell's `*.toml` finds them, in the order of their names' bytes. None where there is no
/// such folder.
///
/// # Errors
/// When the folder cannot be read: its path, and why.
pub(super) fn beside(file: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let folder = file.with_extension("d");
    if folder == file {
        return Ok(Vec::new());
    }
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err((folder, error)),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(|error| (folder.clone(), error))?;
    names.retain(|name| is_ours(name));
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Editors keep what they are at in files with a dot before their names.
fn is_ours(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".")
}
