//! Entrants in turns, so that what changes on the machine meanwhile meets all of them.

/// Measures each entrant once a round, every other round in the reverse order: `samples[entrant][round]`.
pub(crate) fn in_turns<S>(entrants: usize, rounds: usize, mut measure: impl FnMut(usize, usize) -> S) -> Vec<Vec<S>> {
    let mut samples: Vec<Vec<S>> = (0..entrants).map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..entrants).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for entrant in order {
            samples[entrant].push(measure(entrant, round));
        }
    }
    samples
}
