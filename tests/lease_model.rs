//! Nothing lost, nothing doubled, in every order of events that there is: a model of the lease protocol, checked exhaustively.
//!
//! `lease_model/redis.rs` is the shared state, with each Lua script of `src/channel/redis/lua` as one atomic step;
//! `lease_model/agent.rs` is one agent's memory (its registry, its attempts) and what `receive.rs`, `settle.rs`, `recover.rs`
//! and the Publisher do with it; `lease_model/world.rs` lets them loose on each other and says what must hold.
//!
//! **What is modelled.** An agent is two threads of control that run at once: one takes (in slices of one message, adopted
//! ones first), writes, and completes, parks or releases; the other renews, gives back what was dropped, takes back what has
//! expired, adopts, and sweeps up lists that belong to no lease. Each command is sent, executed and answered in steps of their own, with anything in between. Wherever
//! one can be, and as many of them in all as the test says, there are these faults:
//! - a command given up without an answer: it is executed at once, or at any later time, or never
//! - a lease dropped in any hands, by a panic, with its command still under way
//! - a batch given back because the agent closes
//! - an agent killed, its memory gone and its commands still under way; the last one alive starts anew
//! - a lease that expires although its holder lives: the holder sleeps, and goes on at any later time where it was
//! - a renewal when none is due, which may then come late
//! - a list that is found by the sweep while its lease is registered, and looked at again at any later time
//! - a failover to a replica that has had nothing for any time: what was done since then is undone, the agents remember it, and all
//!   connections end, with what was under way on them
//!
//! A lease that nobody renews expires some time, and whatever can go on does so some time; faults need not come.
//!
//! The tests look at 55,802 states of two agents, two messages and one fault; 246,601 of two agents, one message and two
//! faults; 134,523 of one agent, three messages and two faults; 72,833 where there is something to adopt; 32,449 where an
//! older version has left messages under no lease; and about 166,000 with a failover.
//!
//! **What a failover may do.** Of two settlements of one message the later can be another than the one that was undone: a message that was
//! published can be parked when it comes again, or the other way round. In Redis each has one in the end. What an agent has counted
//! before it was undone it counts again.
//!
//! **What is not.** A push that is undone: no agent has ever heard of it. No mark of loss runs out after a
//! day. Time is only "has expired". Messages have no sizes. A Python agent is dead before the model begins, and for long
//! enough. An agent holds one lease at a time, and any number of dropped ones. A write to InfluxDB is one step: one that
//! is late, or is done twice, only adds points that are there already. The memory of an agent that ends by its deadline
//! is not looked at after that.

#[path = "lease_model/agent.rs"]
mod agent;
#[path = "lease_model/redis.rs"]
mod redis;
#[path = "lease_model/world.rs"]
mod world;

use std::collections::HashMap;

use stateright::{Checker, HasDiscoveries, Model};

use self::{
    redis::Wrong,
    world::{BALANCES, ENDS, FENCED, ONE_PLACE, PARKED_ONCE, PARKED_RIGHTLY, Protocol, TRUE, UNTOUCHED, WRITTEN, World},
};

const NOTHING: Protocol =
    Protocol { agents: 1, messages: 0, adopted: 0, left: 0, orphaned: 0, demand: 2, faults: 0, failovers: 0, wrong: None };

/// Checks every state, and counts them: another number than before means that more or less is tried than before.
fn holds(protocol: Protocol, states: usize) {
    let any = HasDiscoveries::AnyFailures;
    let checker = protocol.checker().threads(2).finish_when(any).spawn_bfs().join();
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let end = path.last_state().clone();
        panic!("it does not hold that {property}: {:#?} leads to {end:#?}", path.into_actions());
    }
    assert_eq!(checker.unique_state_count(), states);
}

/// Something wrong with the protocol is noticed, by this property.
fn breaks(wrong: Wrong, property: &'static str, protocol: Protocol) {
    let protocol = Protocol { wrong: Some(wrong), ..protocol };
    let noticed = HasDiscoveries::AnyOf([property].into());
    let checker = protocol.checker().threads(2).finish_when(noticed).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "nobody notices {wrong:?} by: {property}");
}

#[test]
fn one_agent_and_three_messages_with_two_faults() {
    holds(Protocol { messages: 3, faults: 2, ..NOTHING }, 134_523);
}

#[test]
fn two_agents_and_two_messages_with_one_fault() {
    holds(Protocol { agents: 2, messages: 2, faults: 1, ..NOTHING }, 55_802);
}

#[test]
fn two_agents_and_one_message_with_two_faults() {
    holds(Protocol { agents: 2, messages: 1, demand: 1, faults: 2, ..NOTHING }, 246_601);
}

#[test]
fn one_agent_adopts_with_one_fault() {
    holds(Protocol { messages: 3, adopted: 1, left: 1, faults: 1, ..NOTHING }, 13_994);
}

#[test]
fn two_agents_adopt_with_one_fault() {
    holds(Protocol { agents: 2, messages: 1, left: 1, faults: 1, ..NOTHING }, 58_839);
}

#[test]
fn what_belongs_to_no_lease_is_found_with_one_fault() {
    holds(Protocol { messages: 2, orphaned: 1, faults: 1, ..NOTHING }, 5_104);
    holds(Protocol { agents: 2, messages: 1, orphaned: 1, faults: 1, ..NOTHING }, 27_345);
}

#[test]
fn a_failover_that_undoes_the_last_of_what_was_done() {
    holds(Protocol { messages: 3, demand: 4, failovers: 1, ..NOTHING }, 598);
    holds(Protocol { messages: 2, failovers: 1, faults: 1, ..NOTHING }, 28_347);
    holds(Protocol { messages: 2, failovers: 2, ..NOTHING }, 7_712);
    holds(Protocol { agents: 2, messages: 2, failovers: 1, ..NOTHING }, 115_423);
}

#[test]
fn a_failover_while_it_is_adopted_and_swept() {
    holds(Protocol { messages: 2, left: 1, failovers: 1, ..NOTHING }, 2_379);
    holds(Protocol { messages: 2, orphaned: 1, failovers: 1, ..NOTHING }, 2_899);
    holds(Protocol { messages: 1, orphaned: 1, failovers: 1, faults: 1, ..NOTHING }, 8_996);
}

/// Without which "when nothing goes on any more" would not be "in the end".
#[test]
fn nothing_goes_round_in_a_circle() {
    fn walk(protocol: &Protocol, world: World, walked: &mut HashMap<World, bool>) {
        if let Some(whole) = walked.get(&world) {
            assert!(whole, "a circle at {world:#?}");
            return;
        }
        walked.insert(world.clone(), false);
        let mut events = Vec::new();
        protocol.actions(&world, &mut events);
        for next in events.into_iter().filter_map(|event| protocol.next_state(&world, event)) {
            walk(protocol, next, walked);
        }
        walked.insert(world, true);
    }
    let two = Protocol { agents: 2, messages: 1, demand: 1, faults: 1, ..NOTHING };
    for protocol in [two, Protocol { faults: 0, failovers: 1, ..two }] {
        for world in protocol.init_states() {
            walk(&protocol, world, &mut HashMap::new());
        }
    }
}

#[test]
fn what_is_wrong_is_noticed() {
    let one = Protocol { messages: 2, faults: 1, ..NOTHING };
    let two = Protocol { agents: 2, messages: 2, faults: 1, ..NOTHING };
    let worse = Protocol { faults: 2, ..two };
    breaks(Wrong::TakeDoesNotRegister, ONE_PLACE, Protocol { faults: 0, ..one });
    breaks(Wrong::TakeOfMoreDoesNotLook, FENCED, one);
    breaks(Wrong::CompleteDoesNotLook, FENCED, two);
    breaks(Wrong::CompleteDoesNotPark, ONE_PLACE, one);
    breaks(Wrong::ReleaseForgets, ONE_PLACE, one);
    breaks(Wrong::ReleaseCopies, ONE_PLACE, one);
    breaks(Wrong::ReleaseCopies, PARKED_ONCE, one);
    breaks(Wrong::ReleaseDoesNotLook, FENCED, one);
    breaks(Wrong::NoMarkOfLoss, TRUE, Protocol { faults: 2, ..one });
    breaks(Wrong::RenewRegisters, FENCED, worse);
    breaks(Wrong::HalfALeaseIsCompleted, WRITTEN, one);
    breaks(Wrong::GoneIsDone, TRUE, one);
    breaks(Wrong::DoubtIsForgotten, TRUE, Protocol { faults: 2, ..one });
    breaks(Wrong::DroppedIsForgotten, BALANCES, one);
    breaks(Wrong::NobodyTakesBack, ENDS, one);
    breaks(Wrong::SweepDoesNotLook, FENCED, Protocol { orphaned: 1, ..one });
    let undone = Protocol { messages: 2, failovers: 1, ..NOTHING };
    breaks(Wrong::CompleteParksNothing, PARKED_RIGHTLY, undone);
    breaks(Wrong::TakeOfMoreDoesNotCount, PARKED_RIGHTLY, Protocol { messages: 3, demand: 4, ..undone });
    breaks(Wrong::SweepTakesWhatIsRegistered, UNTOUCHED, one);
    breaks(Wrong::NobodySweeps, ENDS, Protocol { orphaned: 1, faults: 0, ..one });
}
