//! `benches/RESULTS.md`: each part of a bench owns a marked section and replaces only that.

use std::{fs, path::PathBuf, process::Command};

use procfs::Current;

/// Where this bench writes: the folder of the benches.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches")
}

/// Where a plot of this name goes.
pub(crate) fn plot(name: &str) -> PathBuf {
    let plots = folder().join("plots");
    fs::create_dir_all(&plots).unwrap();
    plots.join(name).with_extension("svg")
}

/// Prints a section, and puts it in place of the one of the same name when `write` is set.
pub(crate) fn section(name: &str, text: &str, write: bool) {
    println!("\n{text}");
    if !write {
        return;
    }
    let path = folder().join("RESULTS.md");
    let before = fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read benches/RESULTS.md: {error}"));
    fs::write(&path, replaced(&before, name, text)).unwrap_or_else(|error| panic!("cannot write benches/RESULTS.md: {error}"));
    println!("written into benches/RESULTS.md, section {name}");
}

fn replaced(before: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let inside = before.split_once(&begin).and_then(|(head, rest)| Some((head, rest.split_once(&end)?.1)));
    match inside {
        Some((head, tail)) => format!("{head}{begin}\n{}\n\n{end}{tail}", text.trim()),
        None => format!("{}\n\n{begin}\n{}\n\n{end}\n", before.trim_end(), text.trim()),
    }
}

/// The machine, the versions and the day, in a few lines without a host's name. Take it before the measuring, for the
/// load that others make.
pub(crate) fn circumstances() -> String {
    let cpus = procfs::CpuInfo::current().unwrap();
    let memory = procfs::Meminfo::current().unwrap().mem_total as f64 / f64::from(1 << 30);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = procfs::LoadAverage::current().unwrap().one;
    format!(
        "{}. {}, {} cores, {memory:.0} GiB, Linux {}, load before the run {load:.2}. \
         Kadabra {} ({}), {}, Redis {}, InfluxDB {}, Python's Kadabra {}.",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        cpus.model_name(0).unwrap_or("unknown CPU"),
        cpus.num_cores(),
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
        commit(),
        said("rustc", &["--version"]).split(" (").next().unwrap_or_default(),
        said("redis-server", &["--version"]).split("v=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("?"),
        said("influxd", &["version"]).split(' ').nth(1).unwrap_or("?").trim_start_matches('v'),
        python_version(),
    )
}

fn commit() -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    if commit.is_empty() {
        return "not from a repository".to_owned();
    }
    // What the benches write themselves is not a change of what they measure.
    let changes = said("git", &["status", "--porcelain", "--untracked-files=no", "--", "src", "Cargo.toml", "Cargo.lock"]);
    if changes.is_empty() { format!("commit {commit}") } else { format!("commit {commit} with changes") }
}

fn python_version() -> &'static str {
    let wanted = include_str!("../../tests/python/requirements.txt");
    wanted.lines().find_map(|line| line.strip_prefix("Kadabra==")).unwrap_or("?")
}

/// What a program writes to its standard output; nothing when there is no such program.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
