//! A terminal with a program on it: what is on its screen, keys that are pressed, and how it is left.

use std::{
    ffi::OsStr,
    fs::File,
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use vt100::Parser;

use super::process::wait_for;

/// How long something may take to be on the screen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal whose program is killed when it is dropped.
pub(crate) struct Terminal {
    program: Child,
    keys: File,
    /// Kept open, so that how it was left can be seen.
    other_end: File,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// Starts a command that has this terminal, and no other, as its own.
    pub(crate) fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap();
        let other_end = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        let keys = File::from(keys);
        let screen = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        tcsetwinsize(&keys, size(columns, rows)).unwrap();
        let end = || other_end.try_clone().unwrap();
        let program = command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").spawn().unwrap();
        let (mut said, shown) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = said.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..read]);
            }
        });
        Self { program, keys, other_end, screen }
    }

    /// What is on the screen, with every space as one that can be typed.
    pub(crate) fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents().replace('\u{a0}', " ")
    }

    /// Waits until all of these are on the screen.
    pub(crate) fn wait(&self, parts: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        wait_for("what is awaited on the screen", 2 * PATIENCE, || {
            let screen = self.screen();
            assert!(Instant::now() < end, "not all of {parts:?} came onto the screen:\n{screen}");
            parts.iter().all(|part| screen.contains(part)).then_some(screen)
        })
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives it another size, of which its program is told.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.keys, size(columns, rows)).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// Waits for the program's end. Fails unless the terminal is as it was: what is typed is shown and can be edited, and the cursor and
    /// what was on the screen before are there.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let status = wait_for("the end of the program on the terminal", PATIENCE, || self.program.try_wait().unwrap());
        let modes = tcgetattr(&self.other_end).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        wait_for("the screen of before", PATIENCE, || {
            let parser = self.screen.lock().unwrap();
            let screen = parser.screen();
            (!screen.alternate_screen() && !screen.hide_cursor()).then_some(())
        });
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
