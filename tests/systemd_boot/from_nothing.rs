//! From a Debian without anything of this project to the first point of an application in InfluxDB and an open page, by the commands of the
//! README, and how long that takes.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    super::support::{machine::Machine, process::wait_for},
    PATIENCE,
    package::{VERSION, bring},
    told,
};

/// An application as small as one may be, with the client for Python.
const APPLICATION: &str = r#"
from wsgiref.simple_server import make_server

import kadabra.wsgi


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"an order\n"]


make_server("127.0.0.1", 8000, kadabra.wsgi.Middleware(shop)).serve_forever()
"#;

#[test]
fn five_minutes_suffice_from_nothing_to_the_first_point_of_an_application_and_an_open_page() {
    let machine = Machine::start_debian();
    let there = bring(&machine, Path::new(env!("CARGO_BIN_EXE_kadabra")), VERSION);
    // As somebody has it who has cloned or downloaded them.
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/src");
    let copied = Command::new("cp").arg("-r").arg(client).arg(machine.path("/srv")).status().unwrap();
    assert!(copied.success());
    machine.write("/srv/shop.py", APPLICATION);

    let begun = Instant::now();
    let commands = told("README.md", "sudo apt-get install ./kadabra");
    assert!(commands.contains(there.trim_start_matches("/root/")), "{commands}");
    let mut shown = String::new();
    let mut commands = commands.lines();
    let mut run = |machine: &Machine, seconds: u64| {
        let command = commands.next().unwrap();
        let command = command.replace("apt-get install", "apt-get --yes --quiet install");
        let said = machine.does_in(seconds, ["sh", "-ec", &format!("cd; export DEBIAN_FRONTEND=noninteractive; {command}")]);
        eprintln!("{:5.1} s: {command}", begun.elapsed().as_secs_f64());
        shown += &said;
        said
    };
    run(&machine, 200);
    // InfluxDB's unit has started it, and does not say when it answers.
    wait_for("influxd", PATIENCE, || machine.run(["influx", "-execute", "SHOW DATABASES"]).status.success().then_some(()));
    run(&machine, 30);
    run(&machine, 30);
    let asked = told("README.md", "influx -database kadabra -execute 'SELECT * FROM userSignup'\ncurl");
    let (query, page) = asked.split_once('\n').unwrap();
    wait_for("the first point", PATIENCE, || {
        machine
            .does(["sh", "-ec", query])
            .contains("userSignup")
            .then(|| eprintln!("{:5.1} s: {query}", begun.elapsed().as_secs_f64()))
    });
    let page = machine.does(["sh", "-ec", &page.replace("curl ", "curl --silent --write-out '\\n%{http_code}' ")]);
    assert!(page.contains("<title>") && page.ends_with("\n200"), "{page}");
    eprintln!("{:5.1} s: the page", begun.elapsed().as_secs_f64());

    machine.does_in(100, ["sh", "-ec", "DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet install python3"]);
    machine.does(["systemd-run", "--unit=shop", "--setenv=PYTHONPATH=/srv/src", "python3", "/srv/shop.py"]);
    wait_for("the application", PATIENCE, || {
        (machine.run(["curl", "--silent", "http://127.0.0.1:8000/"]).stdout == b"an order\n").then_some(())
    });
    wait_for("a point of a request", PATIENCE, || {
        let query = "SELECT * FROM RequestTime";
        machine.does(["influx", "-database", "kadabra", "-execute", query]).contains("RequestTime").then_some(())
    });
    let taken = begun.elapsed();
    eprintln!("{:5.1} s: a request to an application in Python is in the database", taken.as_secs_f64());
    assert!(taken < Duration::from_secs(5 * 60), "{taken:?}");
}
