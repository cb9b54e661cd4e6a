//! Programs run in turns, so that what changes on the machine meanwhile meets all of them.

use crate::{
    programs::{Program, Sample},
    support::{
        report::{Table, figure, megabytes},
        sink::Sink,
        statistics::{median, range},
        turns::in_turns,
        world::World,
    },
};

/// A program's name, itself, and how many messages it carries in a run.
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) program: Program,
    pub(crate) count: u64,
}

/// Every run of every entrant: `samples[entrant][round]`.
pub(crate) struct Rounds {
    names: Vec<String>,
    samples: Vec<Vec<Sample>>,
}

impl Entrant {
    pub(crate) fn new(name: impl Into<String>, program: Program, count: u64) -> Self {
        Self { name: name.into(), program, count }
    }
}

impl Rounds {
    /// Runs each entrant once a round, every other round in the reverse order.
    pub(crate) fn run(entrants: &[Entrant], rounds: usize, world: &mut World, null: &Sink) -> Self {
        let samples = in_turns(entrants.len(), rounds, |index, round| {
            let Entrant { name, program, count } = &entrants[index];
            let sample = program.run(world, null, *count);
            eprintln!("round {} of {rounds}: {name}: {} messages/s", round + 1, figure(sample.rate));
            sample
        });
        Self { names: entrants.iter().map(|entrant| entrant.name.clone()).collect(), samples }
    }

    /// The median of a figure of one entrant.
    pub(crate) fn median(&self, entrant: usize, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples[entrant].iter().map(of))
    }

    /// One entrant's figure compared with another's, for each round.
    pub(crate) fn compare(&self, one: usize, other: usize, how: impl Fn(&Sample, &Sample) -> f64) -> Vec<f64> {
        self.samples[one].iter().zip(&self.samples[other]).map(|(one, other)| how(one, other)).collect()
    }

    /// A row for each entrant.
    pub(crate) fn table(&self, first_column: &str) -> Table {
        let columns = [first_column, "messages/s", "", "CPU µs: itself", "Redis", "InfluxDB", "peak RSS MB"];
        let mut table = Table::new(columns);
        for (entrant, name) in self.names.iter().enumerate() {
            table.row([
                name.clone(),
                figure(self.median(entrant, |sample| sample.rate)),
                brackets(self.samples[entrant].iter().map(|sample| sample.rate)),
                figure(self.median(entrant, |sample| sample.own_cpu)),
                figure(self.median(entrant, |sample| sample.redis_cpu)),
                figure(self.median(entrant, |sample| sample.influxd_cpu)),
                figure(megabytes(self.median(entrant, |sample| sample.peak_rss))),
            ]);
        }
        table
    }
}

/// The lowest and the highest figure.
pub(crate) fn brackets(values: impl IntoIterator<Item = f64>) -> String {
    let (low, high) = range(values);
    format!("[{} … {}]", figure(low), figure(high))
}
