//! Entrants in turns, so that what changes on the machine meanwhile meets all of them.

use crate::{
    entrant::{Entrant, Sample, Server},
    support::{
        report::{Table, figure, megabytes},
        statistics::{median, range},
        turns::in_turns,
        world::World,
    },
};

/// Every run of every entrant: `samples[entrant][round]`.
pub(crate) struct Rounds<'a> {
    entrants: &'a [Entrant],
    samples: Vec<Vec<Sample>>,
}

impl<'a> Rounds<'a> {
    /// Runs each entrant once a round, every other round in the reverse order.
    pub(crate) fn run(entrants: &'a [Entrant], rounds: usize, world: &mut World, servers: &[Server], count: u64) -> Self {
        let samples = in_turns(entrants.len(), rounds, |index, round| {
            let sample = entrants[index].drain(world, servers, count);
            let (name, rate, cpu) = (entrants[index].name, figure(sample.rate), figure(sample.cpu));
            eprintln!("round {} of {rounds}: {name}: {rate} messages/s, CPU {cpu} µs", round + 1);
            sample
        });
        Self { entrants, samples }
    }

    /// One entrant's figure for each round, as a multiple of another's.
    fn ratios(&self, one: usize, other: usize, of: fn(&Sample) -> f64) -> impl Iterator<Item = f64> + Clone {
        self.samples[one].iter().zip(&self.samples[other]).map(move |(one, other)| of(one) / of(other))
    }

    /// The median of them.
    pub(crate) fn ratio(&self, one: usize, other: usize, of: fn(&Sample) -> f64) -> f64 {
        median(self.ratios(one, other, of))
    }

    fn with_brackets(&self, one: usize, other: usize, of: fn(&Sample) -> f64) -> String {
        let (low, high) = range(self.ratios(one, other, of));
        format!("{} ({}–{})", figure(self.ratio(one, other, of)), figure(low), figure(high))
    }

    /// A row for each entrant, with multiples of the one that `beside` says.
    pub(crate) fn table(&self, beside: impl Fn(usize) -> usize) -> Table {
        let columns =
            ["", "messages/s", "ratio", "CPU µs", "ratio", "Redis CPU µs", "ratio", "InfluxDB CPU µs", "bytes", "peak RSS MB"];
        let mut table = Table::new(columns);
        for (entrant, Entrant { name, .. }) in self.entrants.iter().enumerate() {
            let of = |of: fn(&Sample) -> f64| median(self.samples[entrant].iter().map(of));
            // A process that only waits takes a little as well.
            let or_nan = |cpu: f64| if cpu < 0.3 { f64::NAN } else { cpu };
            let ratio =
                |of| if beside(entrant) == entrant { "–".to_owned() } else { self.with_brackets(entrant, beside(entrant), of) };
            let redis = or_nan(of(|sample| sample.redis_cpu));
            table.row([
                (*name).to_owned(),
                figure(of(|sample| sample.rate)),
                ratio(|sample| sample.rate),
                figure(of(|sample| sample.cpu)),
                ratio(|sample| sample.cpu),
                figure(redis),
                if redis.is_nan() { "–".to_owned() } else { ratio(|sample| sample.redis_cpu) },
                figure(or_nan(of(|sample| sample.influxd_cpu))),
                figure(of(|sample| sample.bytes)),
                figure(megabytes(of(|sample| sample.peak_rss))),
            ]);
        }
        table
    }
}
