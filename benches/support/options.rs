//! What is asked of a bench that has parts, of which each is measured in rounds.

use clap::{Parser, ValueEnum};

/// What to run.
#[derive(Debug, Parser)]
pub(crate) struct Options<Part: ValueEnum + Send + Sync + 'static> {
    /// Only this part; may be given more than once.
    #[arg(long, value_enum)]
    pub(crate) part: Vec<Part>,
    /// How many rounds.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// A tenth of the messages, and one round: to see that it works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Update benches/RESULTS.md.
    #[arg(long)]
    pub(crate) write: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

impl<Part: ValueEnum + PartialEq + Send + Sync + 'static> Options<Part> {
    /// From the command line.
    pub(crate) fn read() -> Self {
        let mut options = Self::parse();
        if options.quick {
            options.rounds = 1;
        }
        options
    }

    /// Whether a part is to run.
    pub(crate) fn wants(&self, part: &Part) -> bool {
        self.part.is_empty() || self.part.contains(part)
    }

    /// So many, or a tenth.
    pub(crate) fn count(&self, count: u64) -> u64 {
        if self.quick { count / 10 } else { count }
    }
}
