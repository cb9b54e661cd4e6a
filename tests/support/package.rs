//! The Debian package and the tarball of the agent that the tests run, made as a release is made.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use super::{process, python::installed};

/// What a release is dated, where nothing else is said.
const DATE: &str = "1795780800";

/// Packs an agent as this version, from the sources in a folder, into another folder.
pub(crate) fn pack(sources: &Path, agent: &Path, version: &str, folder: &Path) -> Output {
    let tools = installed("tools/bin/cargo-deb");
    let target = tools.ancestors().nth(3).unwrap();
    let mut build = process::command(sources.join("conf/release/build"));
    build.arg("--quick").args([agent, folder]);
    build.env("CARGO_TARGET_DIR", target).env("SOURCE_DATE_EPOCH", DATE).env("KADABRA_VERSION", version);
    let output = build.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()));
    output
}

/// The Debian package of an agent, as this version.
pub(crate) fn debian(agent: &Path, version: &str, folder: &Path) -> PathBuf {
    pack(Path::new(env!("CARGO_MANIFEST_DIR")), agent, version, folder);
    let mut packages = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let begin = format!("kadabra_{version}-1_");
    packages.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&begin)).unwrap()
}
