//! What systemd is told: ready, the status line, the watchdog, stopping. Nothing of it can fail the agent.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sd_notify::NotifyState;
use slog::{Logger, debug, o};

/// How long systemd may leave its socket full before a message is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Speaks to systemd, or to nobody when the agent does not run under it.
#[derive(Debug)]
pub struct Notifier {
    log: Logger,
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
    status: Mutex<Option<String>>,
}

impl Notifier {
    /// For the systemd that started this process, by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. They stay in the
    /// environment: taking them out is not safe in a process with threads, and the agent starts no other.
    #[must_use]
    pub fn from_environment(log: &Logger) -> Self {
        Self::new(env::var_os("NOTIFY_SOCKET").as_deref(), sd_notify::watchdog_enabled(), log)
    }

    /// For the socket at this path, or in the abstract namespace if it begins with `@`. `watchdog` is how long systemd
    /// waits for a sign of life.
    #[must_use]
    pub fn new(socket: Option<&OsStr>, watchdog: Option<Duration>, log: &Logger) -> Self {
        let socket = socket.filter(|path| !path.is_empty()).and_then(|path| {
            let address = match path.as_bytes().split_first() {
                Some((b'@', name)) => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(path),
            };
            address.inspect_err(|e| debug!(log, "cannot speak to systemd"; "error" => %e, "socket" => ?path)).ok()
        });
        Self { log: log.new(o!()), socket, watchdog, status: Mutex::default() }
    }

    /// The agent works; `status` is what it does.
    pub fn ready(&self, status: &str) {
        self.send_status(status, &[NotifyState::Ready]);
    }

    /// The agent reloads its configuration, until [`Notifier::ready`] is said. With the time that a unit of `Type=notify-reload` asks for.
    pub fn reloading(&self, status: &str) {
        let time = NotifyState::monotonic_usec_now().ok();
        self.send_status(status, &[&[NotifyState::Reloading][..], time.as_slice()].concat());
    }

    /// What the agent does, in a line. Sent only when it has changed.
    pub fn status(&self, status: &str) {
        self.send_status(status, &[]);
    }

    /// Whether systemd listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// The line that it was told last.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        self.socket.as_ref()?;
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The agent ends.
    pub fn stopping(&self) {
        self.send(&[NotifyState::Stopping]);
    }

    /// The agent lives.
    pub fn watchdog(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// How often to call [`Notifier::watchdog`]: twice in the time that systemd waits. None when it does not wait for us.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog).map(|patience| patience / 2).filter(|interval| !interval.is_zero())
    }

    fn send_status(&self, status: &str, more: &[NotifyState<'_>]) {
        // A line of the message is a field of the protocol.
        let status = status.replace(char::is_control, " ");
        let mut last = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let news = last.as_deref() != Some(status.as_str());
        if !news && more.is_empty() {
            return;
        }
        let sent = self.send(&[more, &[NotifyState::Status(&status)]].concat());
        *last = sent.then_some(status);
    }

    fn send(&self, states: &[NotifyState<'_>]) -> bool {
        let Some(socket) = &self.socket else { return true };
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        match deliver(socket, &message) {
            Ok(()) => true,
            Err(e) => {
                debug!(self.log, "cannot speak to systemd"; "error" => %e, "message" => message.trim_end());
                false
            }
        }
    }
}

fn deliver(to: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message.as_bytes(), to).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command};

    use super::*;

    struct Systemd {
        socket: UnixDatagram,
        path: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Systemd {
        fn listens() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { socket, path, _folder: folder }
        }

        fn notifier(&self, watchdog: Option<Duration>) -> Notifier {
            Notifier::new(Some(self.path.as_os_str()), watchdog, &silence())
        }

        fn heard(&self) -> Option<String> {
            let mut buffer = [0; 4096];
            let size = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..size].to_vec()).unwrap())
        }
    }

    fn silence() -> Logger {
        Logger::root(slog::Discard, o!())
    }

    #[test]
    fn systemd_hears_ready_status_watchdog_and_stopping() {
        let systemd = Systemd::listens();
        let notifier = systemd.notifier(None);
        notifier.ready("waiting for messages");
        notifier.watchdog();
        notifier.stopping();
        assert_eq!(systemd.heard().unwrap(), "READY=1\nSTATUS=waiting for messages\n");
        assert_eq!(systemd.heard().unwrap(), "WATCHDOG=1\n");
        assert_eq!(systemd.heard().unwrap(), "STOPPING=1\n");
        assert_eq!(systemd.heard(), None);
    }

    #[test]
    fn a_status_is_sent_only_when_it_changed() {
        let systemd = Systemd::listens();
        let notifier = systemd.notifier(None);
        for status in ["one", "one", "two", "two", "one"] {
            notifier.status(status);
        }
        for expected in ["one", "two", "one"] {
            assert_eq!(systemd.heard().unwrap(), format!("STATUS={expected}\n"));
        }
        assert_eq!(systemd.heard(), None);
        notifier.ready("one");
        assert_eq!(systemd.heard().unwrap(), "READY=1\nSTATUS=one\n");
    }

    #[test]
    fn a_status_cannot_smuggle_in_another_field() {
        let systemd = Systemd::listens();
        systemd.notifier(None).status("refused:\nSTOPPING=1");
        assert_eq!(systemd.heard().unwrap(), "STATUS=refused: STOPPING=1\n");
    }

    #[test]
    fn a_status_that_was_not_heard_is_sent_again() {
        let systemd = Systemd::listens();
        let notifier = systemd.notifier(None);
        let away = systemd.path.with_extension("away");
        std::fs::rename(&systemd.path, &away).unwrap();
        notifier.status("one");
        std::fs::rename(&away, &systemd.path).unwrap();
        notifier.status("one");
        assert_eq!(systemd.heard().unwrap(), "STATUS=one\n");
    }

    #[test]
    fn an_abstract_socket_is_heard_too() {
        let name = format!("kadabra-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}"))), None, &silence()).watchdog();
        let mut buffer = [0; 64];
        let size = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"WATCHDOG=1\n");
    }

    #[test]
    fn a_systemd_that_does_not_read_or_does_not_exist_fails_nobody() {
        let systemd = Systemd::listens();
        let notifier = systemd.notifier(None);
        // Its queue is some ten messages long.
        for number in 0..12 {
            notifier.status(&number.to_string());
        }
        for socket in [None, Some(""), Some("/nowhere/at/all"), Some("a\0b"), Some("@a\0b")] {
            let notifier = Notifier::new(socket.map(OsStr::new), Some(Duration::from_secs(1)), &silence());
            notifier.ready("ready");
            notifier.stopping();
        }
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        let systemd = Systemd::listens();
        let interval = |watchdog| systemd.notifier(watchdog).watchdog_interval();
        assert_eq!(interval(Some(Duration::from_secs(30))), Some(Duration::from_secs(15)));
        assert_eq!((interval(None), interval(Some(Duration::ZERO))), (None, None));
        assert_eq!(Notifier::new(None, Some(Duration::from_secs(30)), &silence()).watchdog_interval(), None);
    }

    /// Runs itself again, since only a new process has an environment of its own.
    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        const INSIDE: &str = "KADABRA_TEST_INSIDE";
        if env::var_os(INSIDE).is_some() {
            println!("interval {:?}", Notifier::from_environment(&silence()).watchdog_interval());
            return;
        }
        let said = |pid: Option<&str>| {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", "observe::systemd::tests::a_watchdog_for_another_process_is_not_ours", "--nocapture"]);
            command.env(INSIDE, "1").env("NOTIFY_SOCKET", "/nowhere").env("WATCHDOG_USEC", "3000000");
            command.env_remove("WATCHDOG_PID").envs(pid.map(|pid| ("WATCHDOG_PID", pid)));
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        assert!(said(None).contains("interval Some(1.5s)"), "{}", said(None));
        assert!(said(Some("1")).contains("interval None"), "{}", said(Some("1")));
    }
}
