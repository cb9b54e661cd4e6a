//! What a release consists of: the same bytes whoever makes it, and nothing that Debian's own checks find fault with.

use std::{fs, path::Path, process::Command};

use super::support::package::pack;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/run"));
    let said = String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    said
}

#[test]
fn an_agent_is_packed_to_the_same_bytes_wherever_the_sources_are_and_nothing_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other, copy] = ["one", "other", "a copy"].map(|name| folder.path().join(name));
    let agent = Path::new(env!("CARGO_BIN_EXE_kadabra"));
    pack(root(), agent, VERSION, &one);

    fs::create_dir(&copy).unwrap();
    let sources = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let sources = sources.filter(|path| !path.ends_with("target") && !path.ends_with(".git"));
    said(Command::new("cp").arg("-r").args(sources).arg(&copy));
    // Who has another umask, too.
    said(Command::new("chmod").args(["-R", "g-r,o-rwx"]).arg(&copy));
    pack(&copy, agent, VERSION, &other);
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(&one), sums(&other));
    assert_eq!(sums(&one).lines().count(), 3);
    said(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&one));

    let file = |end: &str| {
        let files = fs::read_dir(&one).unwrap().map(|file| file.unwrap().path());
        files.into_iter().find(|path| path.to_str().unwrap().ends_with(end)).unwrap()
    };
    let lint = said(Command::new("lintian").args(["--fail-on", "error,warning"]).arg(file(".deb")));
    let lint: Vec<_> = lint.lines().filter(|line| *line != "running with root privileges is not recommended!").collect();
    assert!(lint.is_empty(), "{lint:#?}");

    let tarball = said(Command::new("tar").arg("-tf").arg(file(".tar.gz")));
    for part in ["/kadabra", "/README.md", "/LICENSE-MIT", "/conf/systemd/kadabra.service", "/share/man/man1/kadabra.1"] {
        assert!(tarball.lines().any(|line| line.ends_with(part)), "{part}:\n{tarball}");
    }

    said(Command::new("tar").arg("-xf").arg(file(".tar.gz")).arg("-C").arg(folder.path()));
    let unpacked = file(".tar.gz").file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.gz").to_owned();
    let unpacked = said(Command::new(folder.path().join(unpacked).join("kadabra")).arg("--version"));
    assert_eq!(unpacked, format!("kadabra {VERSION}\n"));

    let list = fs::read_to_string(file(".cdx.json")).unwrap();
    assert!(!list.contains(root().to_str().unwrap()) && !list.contains("/tmp/"));
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let named: Vec<_> = list["components"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert!(["actix", "rusqlite", "rustls"].iter().all(|part| named.contains(part)), "{named:?}");
}

#[test]
fn every_command_of_the_checklist_for_a_release_is_there() {
    let page = fs::read_to_string(root().join("docs/releasing.md")).unwrap();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut wrong = Vec::new();
    let blocks = page.split("```sh\n").skip(1).flat_map(|block| block.split("```").next().unwrap().trim_end().lines());
    let lines: Vec<_> = blocks.map(str::trim).collect();
    assert!(lines.len() > 5, "{lines:?}");
    for line in &lines {
        let words: Vec<_> = line.split(' ').skip_while(|word| word.contains('=')).collect();
        let program = if words[0].contains('/') { root().join(words[0]) } else { words[0].into() };
        let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null"]).arg(program).status().unwrap().success();
        // What cargo is told to test or to bench.
        let named = words.windows(2).filter(|pair| ["--bench", "--test"].contains(&pair[0]));
        if !found || named.into_iter().any(|pair| !manifest.contains(&format!("\nname = \"{}\"", pair[1]))) {
            wrong.push(line);
        }
    }
    // The files that a release is said to consist of have this version in their names.
    let names = ["README.md", "docs/packages.md", "docs/releasing.md"].map(|page| fs::read_to_string(root().join(page)).unwrap());
    for name in names.iter().flat_map(|page| page.split("kadabra_").skip(1)) {
        assert!(name.starts_with(&format!("{VERSION}-1_")), "{name:.40}");
    }
    let changes = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changes.contains(&format!("\n## [{VERSION}] - 20")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_scripts_of_the_package_and_of_a_release_have_no_flaw_that_is_known() {
    let scripts =
        ["conf/release/build", "conf/debian/scripts/postinst", "conf/debian/scripts/postrm", "conf/debian/scripts/prerm"];
    assert_eq!(said(Command::new("shellcheck").args(scripts).current_dir(root())), "");
}
