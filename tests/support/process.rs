//! Child processes that end with their test, free ports, and waiting without sleeping and hoping.

use std::{
    fs::{self, File},
    io, iter, mem,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A child process that is killed when it is dropped, and by the kernel when its test dies first.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    /// Writes down what it says.
    ear: Option<JoinHandle<()>>,
}

/// A port that nobody listens on, and that is this test's until its process ends, whatever it starts and stops there.
///
/// What still pushes to a server that was stopped would otherwise push to a stranger that got its port. So it is below the ports that
/// the kernel gives to connections and to servers that ask for any, and it has a socket's name, which no other test can have, in
/// whatever language, and which nothing is left of afterwards.
pub(crate) fn free_port() -> u16 {
    let free = |port: &u16| {
        let name = SocketAddr::from_abstract_name(format!("kadabra-test-port-{port}")).unwrap();
        let taken = UnixListener::bind_addr(&name).map(mem::forget);
        taken.is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok()
    };
    iter::repeat_with(|| fastrand::u16(10_000..32_000)).find(free).unwrap()
}

/// Waits until `condition` gives something. Panics with `what` at the deadline.
pub(crate) fn wait_for<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A command that the kernel kills when the thread that spawned it ends. Set arguments on it after the program's.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
    command
}

impl Process {
    /// Starts a command whose output goes to the file `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command.stdout(out).stderr(err).spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}; run tests/run"));
        Self { child, name: name.to_owned(), ear: None }
    }

    /// The same, with an output that no limit on what the command may write concerns: it goes through a pipe.
    pub(crate) fn start_heard(name: &str, mut command: Command, log: &Path) -> Self {
        let mut file = File::options().create(true).append(true).open(log).unwrap();
        let (mut said, out) = io::pipe().unwrap();
        let err = out.try_clone().unwrap();
        let child = command.stdout(out).stderr(err).spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}; run tests/run"));
        let ear = thread::spawn(move || drop(io::copy(&mut said, &mut file)));
        Self { child, name: name.to_owned(), ear: Some(ear) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`. What it stops has stopped.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(status.success(), "kill -{name} {} ({})", self.id(), self.name);
        if name == "STOP" {
            wait_for(&format!("{} to stop", self.name), Duration::from_secs(10), || self.all_threads_stopped().then_some(()));
        }
    }

    /// Each of its threads goes on until it hears of the signal.
    fn all_threads_stopped(&self) -> bool {
        // One that has just ended does nothing either.
        let mut threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        threads.all(|thread| {
            let status = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state is behind the name in parentheses.
            status.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with(['T', 't', 'Z', 'X']))
        })
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.try_wait().unwrap();
        if ended.is_some() {
            self.hear_out();
        }
        ended
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, deadline, || self.ended())
    }

    /// kill -9, and waits for the end.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.hear_out();
    }

    fn hear_out(&mut self) {
        if let Some(ear) = self.ear.take() {
            drop(ear.join());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
