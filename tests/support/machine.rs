//! A machine of its own for a test: a systemd as its first process, a network, and the agent installed by hand as docs/packages.md says,
//! or a small Debian without it. It lies in namespaces, so that it takes a tenth of a second to start, and nothing of it is left when its
//! test ends.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::process::{self, Process, wait_for};

/// How long the machine may take for one step.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it takes to start one.
const NEEDED: &str = "a machine with its own systemd needs root, a kernel that allows namespaces and has control groups of version 2, \
    and what tests/run installs";

/// The unit that it is about.
const UNIT: &str = "kadabra.service";

/// How the names of the machines' control groups begin.
const GROUP: &str = "kadabra-machine-";

/// A machine that runs. What its journal holds is shown when its test fails.
#[derive(Debug)]
pub(crate) struct Machine {
    process: Process,
    /// Its first process, as this side counts them.
    systemd: u32,
    /// Dropped after the process, since only then it is empty.
    group: ControlGroup,
    folder: TempDir,
}

/// The control group of the machine's processes; those that its systemd makes lie below it.
#[derive(Debug)]
struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    /// Below the one of this process.
    fn make() -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let own = own_group()?;
        sweep(&own);
        let name = format!("{GROUP}{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = own.join(name);
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The processes of one group below it, as this side counts them.
    fn processes(&self, below: &str) -> Vec<u32> {
        let text = fs::read_to_string(self.path.join(below).join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The kernel ends the machine's processes one after the other once its first has ended.
        let gone = || remove(&self.path).is_ok().then_some(());
        // Not where a deadline would be a second panic, which ends the process at once; the next test removes it.
        if gone().is_none() && !thread::panicking() {
            wait_for("the end of the machine's processes", PATIENCE, gone);
        }
    }
}

/// The folder of the control group that this process is in.
fn own_group() -> io::Result<PathBuf> {
    let other = |error: procfs::ProcError| io::Error::other(error.to_string());
    let this = procfs::process::Process::myself().map_err(other)?;
    let mounts = this.mountinfo().map_err(other)?;
    let mount = mounts.into_iter().find(|mount| mount.fs_type == "cgroup2");
    let mount = mount.ok_or_else(|| io::Error::other("no file system of the type cgroup2 is mounted"))?;
    let groups = this.cgroups().map_err(other)?;
    let group = groups.into_iter().find(|group| group.hierarchy == 0);
    let group = group.ok_or_else(|| io::Error::other("this process is in no control group of version 2"))?;
    Ok(mount.mount_point.join(group.pathname.trim_start_matches('/')))
}

/// Removes what tests that were killed have left: their processes have ended, their groups stay.
fn sweep(groups: &Path) {
    for entry in fs::read_dir(groups).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let test = name.to_str().and_then(|name| name.strip_prefix(GROUP)?.split_once('-'));
        if test.is_some_and(|(test, _)| !Path::new("/proc").join(test).exists()) {
            drop(remove(&entry.path()));
        }
    }
}

/// Removes a control group with all below it, which fails while a process is in there.
fn remove(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Whether a process is the first one of its namespace.
fn is_first(process: u32) -> bool {
    let status = procfs::process::Process::new(process.cast_signed()).and_then(|process| process.status());
    status.is_ok_and(|status| status.nspid.is_some_and(|ids| ids.last() == Some(&1)))
}

impl Machine {
    /// Starts one, and waits until its systemd has done so.
    pub(crate) fn start() -> Self {
        Self::with_folders(&[])
    }

    /// The same, where each folder of this side is at a path of the machine, to be read.
    pub(crate) fn with_folders(folders: &[(&Path, &Path)]) -> Self {
        let agent = [Path::new(env!("CARGO_BIN_EXE_kadabra")), Path::new(env!("CARGO_MANIFEST_DIR"))];
        let folders = folders.iter().flat_map(|&(from, to)| [from, to]);
        Self::boot("machine.sh", agent.into_iter().chain(folders))
    }

    /// Starts one with a small Debian of its own and nothing of this project, on which packages can be installed.
    pub(crate) fn start_debian() -> Self {
        Self::boot("debian.sh", [&*super::python::installed("small-debian")])
    }

    /// Starts one by a script beside this, which is given these paths, too.
    fn boot<'a>(script: &str, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let group = ControlGroup::make().unwrap_or_else(|error| panic!("{NEEDED}: {error}"));
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut command = process::command("sh");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(script));
        command.args([&root, &group.path]).args(paths);
        let log = folder.path().join("log");
        let mut process = Process::start("the machine", command, &log);
        let systemd = wait_for("systemd", PATIENCE, || {
            if let Some(status) = process.ended() {
                panic!("{NEEDED}: {status}: {}", fs::read_to_string(&log).unwrap());
            }
            // It has gone to that group by itself. What is run before that is run beside the machine and not on it.
            group.processes("init.scope").into_iter().find(|&process| is_first(process))
        });
        let machine = Self { process, systemd, group, folder };
        wait_for("the end of systemd's start", PATIENCE, || {
            (machine.run(["systemctl", "is-system-running"]).stdout == b"running\n").then_some(())
        });
        machine
    }

    /// Runs a command on it as root to its end.
    pub(crate) fn run<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> Output {
        self.run_in(PATIENCE.as_secs(), command)
    }

    /// The same for a command that may take so many seconds. What never ends is a failure, and not a test that hangs.
    pub(crate) fn run_in<'a>(&self, seconds: u64, command: impl IntoIterator<Item = &'a str>) -> Output {
        let mut enter = process::command("nsenter");
        enter.args(["--all", "--target", &self.systemd.to_string(), "--"]);
        enter.args(["timeout", &seconds.to_string()]).args(command);
        let environment = [("PATH", "/usr/local/bin:/usr/sbin:/usr/bin"), ("HOME", "/root"), ("LANG", "C.UTF-8")];
        enter.env_clear().envs(environment).output().unwrap()
    }

    /// Runs a command that must succeed; gives what it has written.
    pub(crate) fn does<'a>(&self, command: impl IntoIterator<Item = &'a str>) -> String {
        self.does_in(PATIENCE.as_secs(), command)
    }

    /// The same for a command that may take so many seconds.
    pub(crate) fn does_in<'a>(&self, seconds: u64, command: impl IntoIterator<Item = &'a str>) -> String {
        let command: Vec<_> = command.into_iter().collect();
        let output = self.run_in(seconds, command.iter().copied());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
        said
    }

    /// Copies a file or folder of this side to the same path of the machine, as a package would bring it.
    pub(crate) fn copy(&self, path: &str) {
        let parent = self.path(path).parent().unwrap().to_owned();
        fs::create_dir_all(&parent).unwrap();
        let copied = process::command("cp").args(["-a", path]).arg(parent).status().unwrap();
        assert!(copied.success(), "{path} is missing; run tests/run");
    }

    /// A path on the machine, as this side sees it. A symbolic link that begins with `/` leads elsewhere.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.systemd)).join(path.trim_start_matches('/'))
    }

    /// Writes a file on the machine.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Changes the unit as an administrator does, in a file beside it.
    pub(crate) fn change_unit(&self, service: &str) {
        self.write(&format!("/etc/systemd/system/{UNIT}.d/test.conf"), &format!("[Service]\n{service}\n"));
        self.does(["systemctl", "daemon-reload"]);
    }

    /// What systemd knows of the unit, at one instant.
    pub(crate) fn unit(&self) -> HashMap<String, String> {
        let text = self.does(["systemctl", "show", UNIT]);
        text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Waits until systemd knows this of the unit.
    pub(crate) fn wait_unit(&self, what: &str, wanted: impl Fn(&HashMap<String, String>) -> bool) -> HashMap<String, String> {
        wait_for(&format!("a unit {what}"), PATIENCE, || Some(self.unit()).filter(&wanted))
    }

    /// Its first process, as this side counts them.
    pub(crate) fn systemd(&self) -> u32 {
        self.systemd
    }

    /// The processes of the unit, as this side counts them.
    pub(crate) fn agents(&self) -> Vec<u32> {
        self.group.processes(&format!("system.slice/{UNIT}"))
    }

    /// The agent, as this side counts processes.
    pub(crate) fn agent(&self) -> u32 {
        let processes = self.agents();
        let [agent] = processes[..] else { panic!("the processes of the unit: {processes:?}") };
        agent
    }

    /// What systemd has said of the unit, and the agent of itself.
    fn journal(&self) -> String {
        self.does(["journalctl", "--output=cat", "--unit", UNIT])
    }

    /// Waits for something to be said. The journal is written by another process than those that say it.
    pub(crate) fn wait_journal(&self, part: &str) {
        wait_for(&format!("{part:?} in the journal"), PATIENCE, || self.journal().contains(part).then_some(()));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = self.run(["journalctl", "--output=short-precise"]);
            eprintln!("the machine's journal:\n{}", String::from_utf8_lossy(&journal.stdout));
        }
    }
}
