//! The images and the compose file in conf/compose under podman: nginx, an application, the agent, and an InfluxDB that the agent alone
//! reaches. On a machine of its own, whose images begin from a Debian that tests/run has made.

use std::{fs, path::Path, time::Duration};

use super::support::{machine::Machine, process::wait_for, python};

/// How long the images, or the start of all containers, may take, in seconds.
const BUILD: u64 = 120;

const PATIENCE: Duration = Duration::from_secs(30);

/// What the application is made of: its framework, its server and the client.
const PACKAGES: [&str; 11] = [
    "flask",
    "flask_kadabra",
    "kadabra",
    "werkzeug",
    "jinja2",
    "markupsafe",
    "itsdangerous",
    "click",
    "blinker",
    "gunicorn",
    "packaging",
];

/// What a program is answered, or why not, that connects to each of these.
const CONNECTS: &str = "
import socket, sys
for host, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        socket.create_connection((host, int(port)), 2).close()
        print(host, 'is reached')
    except OSError as error:
        print(host, error)
";

struct Containers {
    machine: Machine,
}

impl Containers {
    fn start() -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let base = python::installed("containers/base.tar");
        let folders = ["conf", "clients", "tests/containers"];
        let folders = folders.map(|folder| (project.join(folder), Path::new("/root/kadabra").join(folder)));
        let mut folders: Vec<(&Path, &Path)> = folders.iter().map(|(from, to)| (from.as_path(), to.as_path())).collect();
        folders.push((base.parent().unwrap(), Path::new("/root/base")));
        let venv = python::installed("python-web/lib");
        folders.push((&venv, Path::new("/root/python")));
        let machine = Machine::with_folders(&folders);
        machine.write("/root/kadabra/Cargo.toml", &fs::read_to_string(project.join("Cargo.toml")).unwrap());
        let packages = PACKAGES.map(|package| format!("/root/python/python3*/site-packages/{package}")).join(" ");
        machine.does(["sh", "-euc", &format!("mkdir /root/packages; cp -r {packages} /root/packages")]);
        let build = "/root/kadabra/tests/containers/build.sh /root/base/base.tar /usr/local/bin/kadabra /root/packages";
        machine.does_in(BUILD, ["sh", "-euc", build]);
        let up = "podman-compose -f /root/kadabra/conf/compose/docker-compose.yml up --no-build --detach";
        machine.does_in(BUILD, ["sh", "-euc", up]);
        let containers = Self { machine };
        containers.wait_healthy();
        containers
    }

    /// Runs a command on the machine that the containers run on.
    fn sh(&self, command: &str) -> String {
        self.machine.does(["sh", "-euc", command])
    }

    /// What podman knows of a service's container.
    fn inspect(&self, service: &str, format: &str) -> String {
        self.sh(&format!("podman inspect --format '{format}' compose_{service}_1")).trim().to_owned()
    }

    /// Runs the health check of the image until it succeeds.
    fn wait_healthy(&self) {
        wait_for("an agent that is well", PATIENCE, || {
            self.machine.run(["podman", "healthcheck", "run", "compose_kadabra_1"]).status.success().then_some(())
        });
    }

    /// The first process of a service's container, as the machine counts them.
    fn process(&self, service: &str) -> String {
        self.inspect(service, "{{.State.Pid}}")
    }

    /// `kill -9`, by nobody whom podman knows, and waits until it is back.
    fn kill(&self, service: &str) {
        let killed = self.process(service);
        self.sh(&format!("kill -KILL {killed}"));
        wait_for(&format!("{service} to be back"), PATIENCE, || {
            (![&killed, "0"].contains(&self.process(service).as_str())).then_some(())
        });
        assert_eq!(self.inspect(service, "{{.RestartCount}}"), "1", "{service}");
        self.wait_healthy();
    }

    /// Has the application serve requests.
    fn load(&self) {
        let before = self.served();
        self.sh("wrk --threads 1 --connections 4 --duration 1s http://localhost:8080/");
        assert!(self.served() > before + 20, "requests were served");
    }

    /// How many requests nginx says that it has served.
    fn served(&self) -> usize {
        self.sh("podman logs compose_nginx_1").lines().filter(|line| line.split(' ').nth(1) == Some("200")).count()
    }

    /// How many points are in the database.
    fn stored(&self) -> usize {
        let query = "podman exec compose_influxdb_1 influx -username admin -password admins-secret -database kadabra -format csv \
                     -execute 'SELECT count(value) FROM RequestTime'";
        let said = self.machine.run(["sh", "-euc", query]);
        let said = String::from_utf8(said.stdout).unwrap();
        said.lines().last().and_then(|line| line.rsplit(',').next()?.parse().ok()).unwrap_or_default()
    }

    fn assert_all_stored(&self) {
        let served = self.served();
        wait_for(&format!("{served} points"), PATIENCE, || (self.stored() == served).then_some(()));
    }

    /// What a program in a service's container hears from addresses.
    fn connects(&self, service: &str, addresses: &str) -> String {
        self.sh(&format!("podman exec -i compose_{service}_1 python3 - {addresses} <<'END'\n{CONNECTS}\nEND"))
    }
}

#[test]
fn each_request_is_a_point_whatever_is_stopped_or_killed_and_the_agent_alone_reaches_the_database() {
    let containers = Containers::start();
    containers.load();
    containers.assert_all_stored();

    // Nobody but the agent is in a network with the database, by name or by address.
    let address = containers.inspect("influxdb", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    for (service, agent) in [("shop", true), ("nginx", false)] {
        let said = containers.connects(service, &format!("influxdb 8086 {address} 8086 kadabra 6379"));
        assert_eq!(said.matches("is reached").count(), usize::from(agent), "{service}: {said}");
        assert_eq!(said.contains("kadabra is reached"), agent, "{service}: {said}");
    }

    // The image has the agent and what it is linked with; the agent is process 1, nobody, and can change nothing but its queue.
    let process = containers.process("kadabra");
    let files = containers.sh(&format!("cd /proc/{process}/root && find usr lib lib64 var -type f | grep -v ^var/lib/kadabra/"));
    let files: Vec<&str> = files.lines().map(|file| file.rsplit('/').next().unwrap()).collect();
    assert!(files.contains(&"kadabra"), "{files:?}");
    assert!(files.iter().all(|file| *file == "kadabra" || file.contains(".so.")), "{files:?}");
    let status = containers.sh(&format!("cat /proc/{process}/status"));
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().replace('\t', " ");
    assert_eq!(
        (line("Uid:"), line("CapEff:"), line("NoNewPrivs:")),
        ("65532 65532 65532 65532".into(), "0000000000000000".into(), "1".into())
    );
    assert!(line("NSpid:").ends_with(" 1"), "{status}");
    assert!(containers.sh(&format!("grep ' / / ' /proc/{process}/mountinfo")).contains(" ro,"), "the root is read-only");
    // It starts no process, and none is left to it by a health check.
    assert_eq!(containers.sh(&format!("cat /proc/{process}/task/{process}/children")), "");

    containers.kill("kadabra");
    containers.load();
    containers.assert_all_stored();
    containers.kill("influxdb");
    containers.load();
    containers.assert_all_stored();

    // A stop writes what has come, and what comes meanwhile waits in the application.
    containers.load();
    containers.sh("podman stop --time 45 compose_kadabra_1");
    assert_eq!(containers.inspect("kadabra", "{{.State.ExitCode}}"), "0");
    let log = containers.sh("podman logs compose_kadabra_1 2>&1");
    let account = log.lines().rfind(|line| line.contains("\"balances\"")).unwrap();
    assert!(account.contains("\"balances\":true") && account.contains("\"waiting\":0"), "{account}");
    containers.load();
    containers.sh("podman start compose_kadabra_1");
    containers.wait_healthy();
    containers.assert_all_stored();
}
