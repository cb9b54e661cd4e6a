//! The atomic steps. Each is one Lua script, run by its hash and loaded again when Redis does not know it.

use redis::{Cmd, Script};

const PROBE: &str = include_str!("lua/probe.lua");

/// All scripts, hashed once.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) take: Script,
    pub(super) complete: Script,
    pub(super) release: Script,
    pub(super) renew: Script,
    pub(super) expired: Script,
    pub(super) snapshot: Script,
    pub(super) sweep: Script,
    pub(super) adopt: Script,
    pub(super) backlog: Script,
    pub(super) peek: Script,
    pub(super) probe: Script,
    pub(super) set_apart: Script,
    pub(super) forget_portion: Script,
    pub(super) take_over: Script,
    pub(super) weigh_portion: Script,
    pub(super) next_letter: Script,
    pub(super) replay: Script,
    pub(super) fan_out: Script,
    pub(super) join: Script,
    pub(super) forget: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            take: Script::new(include_str!("lua/take.lua")),
            complete: Script::new(include_str!("lua/complete.lua")),
            release: Script::new(include_str!("lua/release.lua")),
            renew: Script::new(include_str!("lua/renew.lua")),
            expired: Script::new(include_str!("lua/expired.lua")),
            snapshot: Script::new(include_str!("lua/snapshot.lua")),
            sweep: Script::new(include_str!("lua/sweep.lua")),
            adopt: Script::new(include_str!("lua/adopt.lua")),
            backlog: Script::new(include_str!("lua/backlog.lua")),
            peek: Script::new(include_str!("lua/peek.lua")),
            probe: Script::new(PROBE),
            set_apart: Script::new(include_str!("lua/set_apart.lua")),
            forget_portion: Script::new(include_str!("lua/forget_portion.lua")),
            take_over: Script::new(include_str!("lua/take_over.lua")),
            weigh_portion: Script::new(include_str!("lua/weigh_portion.lua")),
            next_letter: Script::new(include_str!("lua/next_letter.lua")),
            replay: Script::new(include_str!("lua/replay.lua")),
            fan_out: Script::new(include_str!("lua/fan_out.lua")),
            join: Script::new(include_str!("lua/join.lua")),
            forget: Script::new(include_str!("lua/forget.lua")),
        }
    }
    /// Loads one of them, as Redis is asked to when it does not know one.
    pub(super) fn load() -> Cmd {
        redis::cmd("SCRIPT").arg("LOAD").arg(PROBE).take()
    }
}
