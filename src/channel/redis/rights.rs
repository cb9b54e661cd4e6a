//! The commands that a user of Redis must be allowed to run: those that this room sends and its scripts run, and no others. A test
//! below holds the list to both.

/// What commands are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An agent's work. Each is tried before the agent takes a message.
    Agent,
    /// What an agent tells of Redis. Without one of these it tells less.
    Facts,
    /// Waiting for replicas, where `channel.redis.wait_replicas` asks for that, beside what an agent needs.
    Replicas,
    /// Moving a queue out of Redis by `kadabra import`, beside what an agent needs.
    Import,
}

/// Every command as an ACL names it, by what it is needed for.
pub const COMMANDS: [(Need, &[&str]); 4] = [
    (
        Need::Agent,
        &[
            "blmove",
            "client|reply",
            "evalsha",
            "exists",
            "info",
            "lindex",
            "llen",
            "lpush",
            "lrange",
            "ltrim",
            "ping",
            "rename",
            "rpush",
            "scan",
            "script|load",
            "select",
            "set",
            "time",
            "type",
            "unlink",
            "xadd",
            "xdel",
            "xlen",
            "xrange",
            "zadd",
            "zrangebyscore",
            "zrem",
            "zscore",
        ],
    ),
    (Need::Facts, &["client|setname", "config|get", "memory|usage"]),
    (Need::Replicas, &["wait"]),
    (Need::Import, &["del", "sadd", "sismember", "smembers", "srem"]),
];

/// The rules of an ACL for what is needed for any of these, with these patterns of keys.
fn rules(pattern: &str, needs: &[Need]) -> String {
    let commands = COMMANDS.iter().filter(|(need, _)| needs.contains(need)).flat_map(|(_, commands)| *commands);
    commands.fold(pattern.to_owned(), |rules, command| format!("{rules} +{command}"))
}

/// The rules for the user of an agent, with these patterns of keys.
#[must_use]
pub fn of_agent(pattern: &str) -> String {
    rules(pattern, &[Need::Agent, Need::Facts])
}

/// The rules for the user by which a queue is moved out of Redis, with these patterns of keys.
#[must_use]
pub fn of_import(pattern: &str) -> String {
    rules(pattern, &[Need::Agent, Need::Facts, Need::Import])
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The commands that an ACL allows by a subcommand here.
    const CONTAINERS: [&str; 5] = ["client", "config", "memory", "script", "sentinel"];

    /// What stands in single or double quotes at the beginning of each piece behind this, in small letters.
    fn quoted_after<'a>(text: &'a str, before: &str, quote: char) -> impl Iterator<Item = (String, &'a str)> {
        text.split(before).skip(1).filter_map(move |rest| rest.split_once(quote)).map(|(word, rest)| (word.to_lowercase(), rest))
    }

    fn of_code(code: &str) -> impl Iterator<Item = String> {
        quoted_after(code, "cmd(\"", '"').map(|(command, rest)| {
            let subcommand = || quoted_after(rest, ".arg(\"", '"').next().unwrap().0;
            if CONTAINERS.contains(&command.as_str()) { format!("{command}|{}", subcommand()) } else { command }
        })
    }

    fn of_script(script: &str) -> impl Iterator<Item = String> {
        quoted_after(script, "redis.call('", '\'').chain(quoted_after(script, "try('", '\'')).map(|(command, _)| command)
    }

    #[test]
    fn every_command_is_run_and_every_one_that_is_run_is_told() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/channel/redis");
        let mut run = BTreeSet::new();
        for file in [folder.join("lua"), folder].iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
            let path = file.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("lua") => run.extend(of_script(&fs::read_to_string(path).unwrap())),
                Some("rs") => {
                    let text = fs::read_to_string(path).unwrap();
                    run.extend(of_code(text.split("#[cfg(test)]\nmod tests").next().unwrap()));
                }
                _ => {}
            }
        }
        // Sent to Sentinels, to agents that listen themselves, and before any right is asked for.
        run.retain(|command| !["kadabra", "sentinel|get-master-addr-by-name", "auth"].contains(&command.as_str()));
        let told: Vec<&str> = COMMANDS.iter().flat_map(|(_, commands)| *commands).copied().collect();
        assert_eq!(told.iter().map(|command| (*command).to_owned()).collect::<BTreeSet<_>>(), run);
        assert_eq!(told.len(), run.len(), "one of them is told twice");
        assert!(COMMANDS.iter().all(|(_, commands)| commands.is_sorted()));
    }
}
