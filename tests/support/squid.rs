//! A real squid (Debian's squid-openssl), on free ports, that ends with its test: a proxy that is spoken to by HTTP and by TLS.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use tempfile::TempDir;

use super::{
    certificates::Certificate,
    process::{Process, command, free_port, wait_for},
};

/// A running squid, which lets everything through.
pub(crate) struct Squid {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    tls_port: u16,
    /// What its port of TLS shows.
    pub(crate) certificate: Certificate,
}

impl Squid {
    /// One that wants this name and password, if they are given.
    pub(crate) fn start(login: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where it is started by root it works as another user.
        let open = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        open(folder.path(), 0o777);
        let extensions = ["subjectAltName=DNS:localhost,IP:127.0.0.1", "basicConstraints=critical,CA:FALSE"];
        let certificate = Certificate::self_signed(folder.path(), "proxy", &extensions);
        let mut squid = Self { process: None, folder, port: free_port(), tls_port: free_port(), certificate };
        squid.configure(login);
        squid.start_again();
        squid
    }

    fn configure(&self, login: Option<(&str, &str)>) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let access = match login {
            None => "http_access allow all\n".to_owned(),
            Some((name, password)) => {
                let hashed = Command::new("openssl").args(["passwd", "-apr1", password]).output().unwrap();
                fs::write(path("users"), format!("{name}:{}", String::from_utf8(hashed.stdout).unwrap())).unwrap();
                format!(
                    "auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\nauth_param basic children 1\n\
                     acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n",
                    path("users")
                )
            }
        };
        let Certificate { certificate, key } = &self.certificate;
        let lines = format!(
            "http_port 127.0.0.1:{}\nhttps_port 127.0.0.1:{} tls-cert={} tls-key={}\npid_filename none\ncache deny all\n\
             cache_mem 8 MB\nmax_filedescriptors 1024\naccess_log stdio:{}\nlogfile_rotate 0\ncache_log {}\ncoredump_dir {}\n\
             pinger_enable off\nnetdb_filename none\nshutdown_lifetime 0 seconds\nvisible_hostname squid.test\n{access}",
            self.port,
            self.tls_port,
            certificate.display(),
            key.display(),
            path("access.log"),
            path("cache.log"),
            path(""),
        );
        fs::write(path("squid.conf"), lines).unwrap();
    }

    /// As `HTTP_PROXY` has it, without the login.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The same for its port of TLS.
    pub(crate) fn tls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.tls_port)
    }

    /// Its log of what it was asked, one request a line.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default()
    }

    /// Ends it by SIGKILL.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it after [`Self::stop`], on the same ports.
    pub(crate) fn start_again(&mut self) {
        let mut squid = command("/usr/sbin/squid");
        squid.arg("-N").arg("-f").arg(self.folder.path().join("squid.conf"));
        self.process = Some(Process::start("squid", squid, &self.folder.path().join("said")));
        let ports = [self.port, self.tls_port];
        let listens = || ports.into_iter().all(|port| TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(());
        wait_for("squid to listen; is it installed? Run tests/run", Duration::from_secs(20), listens);
    }
}
