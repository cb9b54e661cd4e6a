//! The atomic steps. Each is one Lua script, run by its hash and loaded again when Redis does not know it.

use redis::{Cmd, ToRedisArgs};

/// A script and its hash.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Has Redis know it.
    pub(super) fn load(&self) -> Cmd {
        redis::cmd("SCRIPT").arg("LOAD").arg(self.text).take()
    }

    pub(super) fn prepare_invoke(&self) -> Invocation<'_> {
        Invocation { script: self, keys: Vec::new(), arguments: Vec::new() }
    }
}

/// A script with what it is run with.
pub(super) struct Invocation<'a> {
    pub(super) script: &'a Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Invocation<'_> {
    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// Runs it, where Redis knows it.
    pub(super) fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script.hash).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}

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
            probe: Script::new(include_str!("lua/probe.lua")),
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
}
