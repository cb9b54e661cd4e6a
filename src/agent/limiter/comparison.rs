//! Which of two limits is better, when every measurement is off by some percent: a sequential probability ratio test.
//!
//! Each pair of windows, one with each limit, gives a gain: the logarithm of the larger limit's rate over the smaller one's. Either
//! the larger limit gains [`WORTH`] or it gains nothing; each pair makes one of them likelier, the more so the less pairs differ from
//! each other. It is decided once one is so likely as [`SURE`] says, which is after one pair if the rate grows by half, and after some
//! fifteen at 5 % of noise if it does not grow. Between the two gains either decision is as good.

/// By how much more half as many batches again in flight must write, as a logarithm: 5 %.
const WORTH: f64 = 0.05;

/// How much likelier one must be, as a logarithm: 55 times. One decision in thirty is wrong at 5 % of noise, measured; in theory,
/// were the noise known, one in fifty-five.
const SURE: f64 = 4.0;

/// The variance of a gain before it is known, for a noise of 5 % in each rate, and how many pairs that is worth.
const VARIANCE: (f64, f64) = (2.0 * 0.05 * 0.05, 4.0);

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Comparison {
    /// The rate of the first window of a pair.
    first: Option<f64>,
    pairs: f64,
    sum: f64,
    squares: f64,
}

/// What follows from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet: it is the turn of the other limit.
    OtherNext,
    /// Nothing yet: the next pair begins with the limit that this one ended with, so that a destination that grows slower or faster all
    /// the time favours neither.
    SameAgain,
    Smaller,
    Larger,
}

impl Comparison {
    /// In the last window so many points a second were written, with the larger limit or with the smaller one.
    pub(super) fn add(&mut self, larger: bool, rate: f64) -> Verdict {
        let Some(first) = self.first.take() else {
            self.first = Some(rate);
            return Verdict::OtherNext;
        };
        let gain = if larger { rate / first } else { first / rate }.ln();
        self.pairs += 1.0;
        self.sum += gain;
        self.squares += gain * gain;
        let spread = self.squares - self.sum * self.sum / self.pairs;
        let variance = (VARIANCE.0 * VARIANCE.1 + spread) / (VARIANCE.1 + self.pairs);
        let evidence = WORTH * (self.sum - self.pairs * WORTH / 2.0) / variance;
        if evidence >= SURE {
            Verdict::Larger
        } else if evidence <= -SURE {
            Verdict::Smaller
        } else {
            Verdict::SameAgain
        }
    }
}
