//! A real HTTP proxy (Debian's tinyproxy), on a free port, that ends with its test: for `HTTP_PROXY` and `HTTPS_PROXY`.

use std::{fs, net::TcpStream, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::process::{Process, command, free_port, wait_for};

const START: Duration = Duration::from_secs(20);

/// A running tinyproxy.
pub(crate) struct ForwardProxy {
    folder: TempDir,
    port: u16,
    login: Option<(&'static str, &'static str)>,
    process: Option<Process>,
}

impl ForwardProxy {
    /// One that lets everything through, to every port.
    pub(crate) fn start() -> Self {
        Self::launch(None)
    }

    /// One that wants a name and a password.
    pub(crate) fn with_login(name: &'static str, password: &'static str) -> Self {
        Self::launch(Some((name, password)))
    }

    fn launch(login: Option<(&'static str, &'static str)>) -> Self {
        let mut proxy = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), login, process: None };
        proxy.start_again();
        proxy
    }

    /// As `HTTP_PROXY` has it, without the login.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests that it has seen, one a line: `POST http://127.0.0.1:8086/write HTTP/1.1`, `CONNECT host:443 HTTP/1.1`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let requests = log.lines().filter(|line| line.contains("Request (file descriptor "));
        requests.filter_map(|line| Some(line.split_once("): ")?.1.to_owned())).collect()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Ends it by SIGKILL.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it after [`Self::stop`], on the same port.
    pub(crate) fn start_again(&mut self) {
        self.process = Some(self.run());
    }

    fn run(&self) -> Process {
        let (file, log) = (self.folder.path().join("tinyproxy.conf"), self.log());
        let mut configuration = format!(
            "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\nLogLevel Connect\nLogFile {log:?}\n",
            self.port
        );
        if let Some((name, password)) = self.login {
            configuration.push_str(&format!("BasicAuth {name} {password}\n"));
        }
        fs::write(&file, configuration).unwrap();
        let mut command = command("tinyproxy");
        command.arg("-d").arg("-c").arg(&file);
        let mut process = Process::start("tinyproxy", command, &self.folder.path().join("output"));
        wait_for("tinyproxy to answer", START, || {
            let ended = process.ended();
            assert!(ended.is_none(), "tinyproxy ended at its start, see {}", self.log().display());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        process
    }
}
