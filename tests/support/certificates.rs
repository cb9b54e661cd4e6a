//! Certificates as an operator makes them, with openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Runs openssl in a folder, at a time such as `2020-01-01` if that is not now.
pub(crate) fn openssl(folder: &Path, time: Option<&str>, args: &[&str]) {
    // faketime names a semaphore after its process, and those of others that were killed stay.
    let taken = "sem_open: File exists";
    for _ in 0..10 {
        let mut command = Command::new(if time.is_some() { "faketime" } else { "openssl" });
        if let Some(time) = time {
            command.args([time, "openssl"]);
        }
        let output = command.args(args).current_dir(folder).output();
        let output = output.unwrap_or_else(|error| panic!("cannot start openssl: {error}; run tests/run"));
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return;
        }
        assert!(said.contains(taken), "openssl {args:?}: {said}");
    }
    panic!("faketime: {taken}, ten times");
}

impl Certificate {
    /// One that signed itself, as `openssl req -x509` makes it: an authority's (CA:TRUE) unless an extension says otherwise.
    pub(crate) fn self_signed(folder: &Path, name: &str, extensions: &[&str]) -> Self {
        Self::made(folder, name, None, extensions)
    }

    /// The same, made at another time. It is valid for two days.
    pub(crate) fn made(folder: &Path, name: &str, time: Option<&str>, extensions: &[&str]) -> Self {
        let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        args.extend(["-days", "2", "-subj", &subject, "-keyout", &key, "-out", &certificate]);
        args.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
        openssl(folder, time, &args);
        Self { certificate: folder.join(certificate), key: folder.join(key) }
    }

    /// One that this authority has issued, at a time if that is not now; no authority itself.
    pub(crate) fn issue(&self, folder: &Path, name: &str, time: Option<&str>, extensions: &[&str]) -> Self {
        let (certificate, key, subject) = (format!("{name}.pem"), format!("{name}.key"), format!("/CN={name}"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        args.extend(["-CA", self.certificate.to_str().unwrap(), "-CAkey", self.key.to_str().unwrap()]);
        args.extend(["-days", "2", "-subj", &subject, "-keyout", &key, "-out", &certificate]);
        args.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        args.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
        openssl(folder, time, &args);
        Self { certificate: folder.join(certificate), key: folder.join(key) }
    }
}
