//! A web application from its users to its metrics, as `docs/full-stack.md` tells to set it up: each process is killed in turn under
//! load, systemd brings it back, and the requests that nginx has logged are the points in InfluxDB.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    documentation::page::Page,
    support::{machine::Machine, process::wait_for, python},
};

/// How long one step may take. In a Redis, what a killed agent had in hand waits for the end of its lease.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections the load has, each with one request at a time.
const CONNECTIONS: u64 = 8;

/// What the packages that the page installs leave on a machine, whose `/usr` has their programs already.
const PACKAGES: &str = r#"
for user in influxdb:992 www-data:33; do
    echo "${user%:*}:x:${user#*:}:${user#*:}::/:/bin/false" >>/etc/passwd
    echo "${user%:*}:x:${user#*:}:" >>/etc/group
done
mkdir -p /etc/default /var/lib/nginx /var/log/nginx
install -d -o influxdb -g influxdb /var/lib/influxdb
install -d -o redis -g redis /var/lib/redis /var/log/redis
chown -R redis:redis /etc/redis
printf '#!/bin/sh\nexec "$@"\n' >/usr/local/bin/sudo
chmod 755 /usr/local/bin/sudo
mkdir -p target/release
mv /usr/local/bin/kadabra target/release
systemctl daemon-reload
"#;

/// The client that the application has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// That of clients/python, with Flask 3.
    Ours,
    /// Flask-Kadabra 0.1.0 and Kadabra 0.5.0, with Flask 2.2.
    Original,
}

/// Where the application's messages wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channel {
    Embedded,
    Redis,
}

/// What has been counted since the machine was started.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Requests that nginx has logged as served.
    served: u64,
    /// Requests that nginx has logged as failed.
    failed: u64,
    /// Points `RequestTime`, and messages that the client says it has dropped.
    stored: u64,
    dropped: u64,
}

struct Stack {
    machine: Machine,
    page: Page,
    client: Client,
    counts: Counts,
}

impl Stack {
    /// Sets it up as the page tells.
    fn start(client: Client, channel: Channel) -> Self {
        let venv = python::installed(match client {
            Client::Ours => "python-web",
            Client::Original => "python",
        });
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let mut folders = vec![(conf, "/root/kadabra/conf".into()), (venv.clone(), "/srv/shop/venv".into())];
        // The Python that the environment was made with, where it is not Debian's.
        let interpreter = fs::canonicalize(venv.join("bin/python")).unwrap();
        let prefix = interpreter.ancestors().nth(2).unwrap();
        if !prefix.starts_with("/usr") {
            folders.push((prefix.to_owned(), prefix.to_owned()));
        }
        let folders: Vec<(&Path, &Path)> =
            folders.iter().map(|(from, to): &(PathBuf, PathBuf)| (from.as_path(), to.as_path())).collect();
        let machine = Machine::with_folders(&folders);
        for unit in ["nginx", "influxdb", "redis-server"] {
            machine.copy(&format!("/usr/lib/systemd/system/{unit}.service"));
        }
        for folder in ["/etc/nginx", "/etc/influxdb", "/etc/redis"] {
            machine.copy(folder);
        }
        let stack = Self { machine, page: Page::read("docs/full-stack.md"), client, counts: Counts::default() };
        stack.sh(PACKAGES);
        let agent = if channel == Channel::Redis { "Through a Redis" } else { "The agent" };
        for section in ["The database", agent, "The application", "nginx"] {
            stack.sh(&stack.page.commands(section).join("\n"));
        }
        stack
    }

    /// Runs commands as in a shell in the clone, which must succeed.
    fn sh(&self, commands: &str) -> String {
        self.machine.does_in(PATIENCE.as_secs(), ["sh", "-euc", &format!("cd /root/kadabra\n{commands}")])
    }

    /// How many requests nginx has logged with statuses that begin so.
    fn logged(&self, status: char) -> u64 {
        let log = fs::read_to_string(self.machine.path("/var/log/nginx/shop.log")).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').nth(1).is_some_and(|found| found.starts_with(status))).count() as u64
    }

    /// Waits until so many more requests have been served.
    fn wait_served(&self, more: u64) {
        let before = self.logged('2');
        wait_for("requests to be served", PATIENCE, || (self.logged('2') >= before + more).then_some(()));
    }

    /// Puts the application under load while something is done, until the agent is well and requests are served again.
    fn under_load(&self, command: &str) {
        let [load] = &self.page.commands("Load")[..] else { panic!("the load is one command") };
        // Kills follow each other here sooner than systemd lets a unit be started again and again.
        self.sh("systemctl reset-failed");
        self.sh(&format!("systemctl start shop.socket shop\nsystemd-run --quiet --collect --unit=load {load}"));
        self.wait_served(200);
        self.sh(command);
        wait_for("an agent that is well", PATIENCE, || self.machine.run(["kadabra", "status"]).status.success().then_some(()));
        self.wait_served(200);
        self.sh("systemctl kill --signal=INT load");
        wait_for("the end of the load", PATIENCE, || {
            (!self.machine.run(["systemctl", "is-active", "load"]).status.success()).then_some(())
        });
    }

    /// Counts as the page tells.
    fn count(&self) -> Counts {
        let said = self.sh(&self.page.commands("Count").join("\n"));
        let mut numbers = said.lines().map(|line| line.trim().parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let (served, stored, dropped) = (next(), next(), next());
        Counts { served, stored, dropped, failed: self.logged('4') + self.logged('5') }
    }

    /// Puts the stack under load, does something to it, and compares what was served with what was stored.
    fn assert_all_is_counted(&mut self, command: &str) {
        // One for each processor (`worker_processes auto`), which nginx begins to start when systemd has it for started.
        let nginx_workers = self.sh("nproc").trim().parse::<u64>().unwrap();
        self.under_load(command);
        let before = self.counts;
        let (nginx, worker) = (command.contains("nginx"), command.contains("pkill"));
        // What a process had in hand when it was killed. nginx logs a request at its end, and its workers are killed one after the other:
        // a connection that one of them had is made anew to the next, and has a request there. With our client a worker loses what it had
        // not pushed yet: that of 50 ms, and no worker serves 5,000 requests a second.
        let unlogged = if nginx { CONNECTIONS * nginx_workers } else { 0 };
        let unpushed = if worker && self.client == Client::Ours { 250 } else { 0 };
        let (mut after, mut told) = (before, String::new());
        let end = Instant::now() + PATIENCE;
        wait_for("what was served to be stored", 2 * PATIENCE, || {
            assert!(Instant::now() < end, "{told}");
            after = self.count();
            let served = after.served - before.served;
            let failed = after.failed - before.failed;
            let counted = after.stored + after.dropped - before.stored - before.dropped;
            told = format!("{command}: served {served}, failed {failed}, counted {counted}");
            // The original client fails a request in which it cannot push for seconds; one that a worker was at fails with it.
            let may_fail = self.client == Client::Original || worker || nginx;
            assert!(failed == 0 || may_fail, "{told}");
            (counted + unpushed >= served && counted <= served + failed + unlogged).then_some(())
        });
        eprintln!("{told}");
        self.counts = after;
    }
}

/// How often each process is killed: more often by hand.
fn rounds() -> usize {
    std::env::var("KADABRA_TEST_ROUNDS").map_or(1, |number| number.parse().unwrap())
}

/// Kills each process of the page under load.
fn assert_each_kill_is_counted(client: Client, channel: Channel) {
    let mut stack = Stack::start(client, channel);
    let kills = stack.page.commands("Kill each");
    assert_eq!(kills.len(), 6);
    for command in kills.iter().cycle().take(kills.len() * rounds()) {
        if channel == Channel::Redis || !command.contains("redis") {
            stack.assert_all_is_counted(command);
        }
    }
}

#[test]
fn each_request_is_a_point_with_our_client() {
    assert_each_kill_is_counted(Client::Ours, Channel::Embedded);
}

#[test]
fn each_request_is_a_point_with_our_client_through_a_redis() {
    assert_each_kill_is_counted(Client::Ours, Channel::Redis);
}

#[test]
fn each_request_is_a_point_with_the_original_client() {
    assert_each_kill_is_counted(Client::Original, Channel::Embedded);
}

#[test]
fn each_request_is_a_point_with_the_original_client_through_a_redis() {
    assert_each_kill_is_counted(Client::Original, Channel::Redis);
}
