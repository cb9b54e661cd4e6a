//! Many agents with little to do each.

use std::{thread, time::Duration};

use crate::{
    CLIENTS, Options,
    servers::{agent::Agent, process::wait_for},
    support::{
        load::Load,
        message,
        queue::{Own, from_redis},
        report::{Table, Targets, figure},
        world::{DATABASE, World, wait_for_rest},
    },
    window::{Window, load},
};

/// Messages a second: of each agent with a queue of its own, and of all that share a Redis.
const EACH: f64 = 20.0;
const TOGETHER: f64 = 1000.0;

const PATIENCE: Duration = Duration::from_secs(120);

struct Cost {
    an_agent: f64,
    agents: f64,
    redis: f64,
    influxd: f64,
    requests: f64,
    p50: f64,
    p99: f64,
}

pub(crate) fn run(world: &mut World, options: &Options, targets: &mut Targets) -> String {
    let mut table = Table::new([
        "",
        "agents",
        "messages/s in all",
        "an agent's CPU %",
        "of all agents",
        "Redis CPU %",
        "InfluxDB CPU %",
        "requests/s",
        "push p50 µs",
        "p99 µs",
    ]);
    let (few, many) = if options.quick { (2, 3) } else { (20, 50) };
    for (name, shared, agents) in [
        ("each with a queue of its own", false, few),
        ("each with a queue of its own", false, many),
        ("on one Redis", true, 1),
        ("on one Redis", true, few),
        ("on one Redis", true, many),
    ] {
        let rate = if shared { TOGETHER } else { EACH * agents as f64 };
        let cost = if shared { on_one_redis(world, agents, rate, options) } else { on_their_own(world, agents, rate, options) };
        eprintln!("{agents} agents {name}: {} requests/s", figure(cost.requests));
        let Cost { an_agent, agents: all, redis, influxd, requests, p50, p99 } = cost;
        table.row([
            name.to_owned(),
            agents.to_string(),
            figure(rate),
            figure(an_agent),
            figure(all),
            figure(if shared { redis } else { f64::NAN }),
            figure(influxd),
            figure(requests),
            figure(p50),
            figure(p99),
        ]);
        let what = |what: &str| format!("{agents} agents {name}, {} messages/s in all: {what}", figure(rate));
        if !shared && agents == few {
            targets.at_most(&what("requests"), 40.0, requests, "/s");
            targets.at_most(&what("InfluxDB's CPU"), 4.0, influxd, " %");
            targets.at_most(&what("an agent's CPU"), 0.8, an_agent, " %");
        }
        if shared && agents == many {
            targets.at_most(&what("CPU of all agents"), 15.0, all, " %");
            targets.at_most(&what("Redis's CPU"), 10.0, redis, " %");
            targets.at_most(&what("requests"), 100.0, requests, "/s");
        }
    }
    format!("{} s of each, one round.\n\n{table}", figure(options.seconds))
}

fn on_their_own(world: &mut World, agents: usize, rate: f64, options: &Options) -> Cost {
    world.reset(true);
    let to = world.influxd.url();
    let queues: Vec<Own> = (0..agents).map(|_| Own::new("process")).collect();
    let running: Vec<Agent> = queues.iter().map(|own| own.agent(&to).start()).collect();
    let servers = queues.iter().map(Own::url).collect();
    queues.iter().for_each(|own| drop(own.connection()));
    measure(world, &running, servers, agents, rate, options)
}

fn on_one_redis(world: &mut World, agents: usize, rate: f64, options: &Options) -> Cost {
    world.reset(true);
    let (redis, to) = (world.redis.url(), world.influxd.url());
    // Each has a name of its own, as on hosts of their own.
    let agent = |number| from_redis(&redis, &to).env("KADABRA_AGENT__NAME", format!("bench-{number}")).start();
    let running: Vec<Agent> = (0..agents).map(agent).collect();
    running.iter().for_each(|agent| drop(agent.wait_log("publishing")));
    measure(world, &running, vec![redis], CLIENTS, rate, options)
}

fn measure(world: &World, agents: &[Agent], servers: Vec<String>, clients: usize, rate: f64, options: &Options) -> Cost {
    agents.iter().for_each(|agent| wait_for_rest(agent.id()));
    let load: Load = load(rate, options.window(), Duration::ZERO);
    let pushing = thread::spawn(move || load.push(&servers, clients));
    let mut processes = vec![world.redis.id(), world.influxd.id()];
    processes.extend(agents.iter().map(Agent::id));
    let window = Window::watch(world, &load, options.window(), &processes);
    let pushes = pushing.join().unwrap();
    wait_for("all messages to be in InfluxDB", PATIENCE, || {
        (world.influxd.count(DATABASE, message::MEASUREMENT) == load.count).then_some(())
    });
    let together: f64 = (2..processes.len()).map(|process| window.cpu(process)).sum();
    let (push, _) = window.pushes(&pushes);
    Cost {
        an_agent: together / agents.len() as f64,
        agents: together,
        redis: window.cpu(0),
        influxd: window.cpu(1),
        requests: window.requests,
        p50: push.percentile_ms(50.0) * 1e3,
        p99: push.percentile_ms(99.0) * 1e3,
    }
}
