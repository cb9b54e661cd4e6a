//! What processes used while a load lasted.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    load::{Load, Push},
    statistics::Distribution,
    usage::Usage,
    world::World,
};

/// How long a load lasts before it is measured: connections are made, and memory has grown.
const WARM_UP: Duration = Duration::from_secs(1);

/// What was used in a window, by each process that was watched.
pub(crate) struct Window {
    begun: Instant,
    seconds: f64,
    before: Vec<Usage>,
    after: Vec<Usage>,
    /// Writes that InfluxDB took, a second.
    pub(crate) requests: f64,
}

/// A load of so many messages a second, which has a window of this length, and lasts this much longer.
pub(crate) fn load(rate: f64, window: Duration, longer: Duration) -> Load {
    Load::soon(0, rate, (WARM_UP + window + longer).as_secs_f64())
}

impl Window {
    /// Watches these processes once the load has warmed up.
    pub(crate) fn watch(world: &World, load: &Load, window: Duration, processes: &[u32]) -> Self {
        let usage = || processes.iter().map(|id| Usage::of(*id)).collect::<Vec<_>>();
        let begun = load.begin + WARM_UP;
        thread::sleep(begun.saturating_duration_since(Instant::now()));
        let (requests, before, begun) = (writes(world), usage(), Instant::now());
        thread::sleep(window);
        let (seconds, after) = (begun.elapsed().as_secs_f64(), usage());
        let requests = (writes(world) - requests) / seconds;
        Self { begun, seconds, before, after, requests }
    }

    /// CPU of one of the processes, in percent of a core.
    pub(crate) fn cpu(&self, process: usize) -> f64 {
        100.0 * (self.after[process].cpu - self.before[process].cpu).as_secs_f64() / self.seconds
    }

    /// Context switches of one of the processes, a second.
    pub(crate) fn switches(&self, process: usize) -> f64 {
        self.after[process].switches.saturating_sub(self.before[process].switches) as f64 / self.seconds
    }

    /// How long the pushes took that began in the window, and how many did in a second.
    pub(crate) fn pushes(&self, pushes: &[Push]) -> (Distribution, f64) {
        let end = self.begun + Duration::from_secs_f64(self.seconds);
        let inside = pushes.iter().filter(|push| (self.begun..end).contains(&push.begun));
        let took: Distribution = inside.map(|push| push.took).collect();
        let rate = took.len() as f64 / self.seconds;
        (took, rate)
    }
}

/// How many writes InfluxDB has taken so far.
fn writes(world: &World) -> f64 {
    let answer = world.influxd.query("", "SHOW STATS FOR 'httpd'");
    let series = &answer["results"][0]["series"][0];
    let column = series["columns"].as_array().unwrap().iter().position(|column| column == "writeReq").unwrap();
    series["values"][0][column].as_f64().unwrap()
}
