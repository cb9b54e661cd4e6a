//! How many files and connections this process may have open, and how many clients that is enough for. Without any left the
//! agent could neither write to its database nor tell a client that there is no place for it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slog::{Logger, warn};

/// What the agent needs for itself: some 60 when it is idle, two for each of the 64 workers that a publisher may have, and what those
/// take who look at its status.
const OWN: u64 = 224;
/// The same of an agent with two workers.
const LEAST_OWN: u64 = 88;
/// With fewer there is no sense in starting: it is enough for the agent and eight clients.
const LEAST: u64 = LEAST_OWN + 8;

/// Sees to it that the agent can work at all.
///
/// # Errors
/// A sentence, when this process may have too few.
pub(crate) fn enough() -> Result<(), String> {
    let limit = raised(LEAST);
    if limit >= LEAST {
        return Ok(());
    }
    Err(format!(
        "this process may have no more than {limit} files and connections open, and the agent needs {LEAST} at least; raise the \
         limit, by LimitNOFILE of systemd or ulimit -Hn"
    ))
}

/// How many clients may be connected at once, of the `wanted`: as many as the limit of this process allows, which is raised
/// for them as far as it may be. When these are fewer it is said.
pub(crate) fn places(wanted: usize, log: &Logger) -> usize {
    let needed = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(OWN);
    let limit = raised(needed);
    let places = affordable(wanted, limit);
    if places < wanted {
        warn!(
            log,
            "only {places} clients can be connected at once, and not the {wanted} of max_connections in [channel.embedded], since \
             this process may have no more than {limit} files and connections open, {} of which it keeps for itself; let it \
             have {needed}, by LimitNOFILE of systemd or ulimit -n, or lower max_connections",
            own(limit)
        );
    }
    places
}

/// Whether each of so many clients may take two, for which the limit of this process is raised as far as it may be.
pub(crate) fn enough_for_two(clients: usize) -> bool {
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OWN);
    raised(needed) >= needed
}

/// The limit of this process, after it was raised to what is needed or as far as it may be. As in Redis, that is nothing
/// that anybody has to set first: systemd and logins begin with a low one that every process may raise.
fn raised(needed: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        // Where it must not be raised after all, it is what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What the agent keeps for itself: where there are few, no more than half, but enough to work.
fn own(limit: u64) -> u64 {
    (limit / 2).clamp(LEAST_OWN, OWN)
}

/// Never none.
fn affordable(wanted: usize, limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(own(limit))).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_what_the_agent_does_not_need() {
        assert_eq!(affordable(1000, u64::MAX), 1000);
        assert_eq!(affordable(1000, 1000 + OWN), 1000);
        assert_eq!(affordable(1000, 1024), 800);
        assert_eq!(affordable(1000, 200), 100);
        assert_eq!(affordable(1000, 100), 12);
        assert_eq!(affordable(1000, LEAST), 8);
        assert_eq!(affordable(3, LEAST), 3);
    }
}
