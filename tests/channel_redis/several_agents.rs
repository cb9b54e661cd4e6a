//! What several agents on one queue do once between them, and how two of one name find each other.

use futures_util::future::join_all;
use kadabra::channel::{Patience, Threat};

use super::*;

const AGENTS: usize = 8;

/// How often a command was run since that was last reset.
fn calls(connection: &mut Connection, command: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
    let prefix = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
    line.unwrap_or(0)
}

#[test]
fn what_nobody_holds_is_taken_back_once_by_all_agents_together() {
    run(async {
        let server = RedisServer::start();
        let mut connection = server.connection();
        push(&mut connection, (0..300).map(|number| number.to_string()));
        let gone = channel(&server);
        let mut leases = Vec::new();
        while let Some(lease) = receive(&gone, 3, 1000).await {
            leases.push(lease);
        }
        std::mem::forget(leases);
        expire(&mut connection);
        let agents: Vec<_> = (0..AGENTS).map(|_| channel(&server)).collect();
        let recovered = join_all(agents.iter().map(Channel::recover)).await;
        let expired: usize = recovered.into_iter().map(|recovered| recovered.unwrap().expired).sum();
        assert_eq!(expired, 300);
        assert_eq!(list(&mut connection, Q).len(), 300);
    });
}

#[test]
fn one_of_several_agents_goes_through_the_keys_until_it_ends() {
    run(async {
        let server = RedisServer::start();
        let mut connection = server.connection();
        let mut settings = settings(&server.url());
        settings.lease = Duration::from_secs(1);
        let agent = || RedisChannel::new(&settings, "here", Duration::from_nanos(1)).unwrap();
        let agents: Vec<_> = (0..AGENTS).map(|_| agent()).collect();
        let round = async |agents: &[RedisChannel]| {
            for recovered in join_all(agents.iter().map(Channel::recover)).await {
                recovered.unwrap();
            }
        };
        round(&agents).await;
        let before = calls(&mut connection, "scan");
        for _ in 0..10 {
            round(&agents).await;
        }
        assert_eq!(calls(&mut connection, "scan") - before, 10, "each step is taken by one of them");
        // Whichever it was: another one takes its place.
        let sweeper: String = connection.get("{kadabra_queue}:sweeper").unwrap();
        let expires: u64 = redis::cmd("PTTL").arg("{kadabra_queue}:sweeper").query(&mut connection).unwrap();
        assert!(expires <= 2000, "{expires}");
        let another = agent();
        eventually("another to go through the keys", || async {
            another.recover().await.unwrap();
            let now: Option<String> = server.connection().get("{kadabra_queue}:sweeper").unwrap();
            now.filter(|now| *now != sweeper)
        })
        .await;
    });
}

#[test]
fn two_agents_of_one_name_are_told_of_each_other_and_a_restart_is_not() {
    run(async {
        let server = RedisServer::start();
        let patience = Patience { age: LONG, messages: 1000 };
        let is_told = async |agent: &RedisChannel| {
            let warnings = agent.pressure(&patience).await.unwrap().warnings;
            let warning = warnings.into_iter().find(|warning| warning.threat == Threat::SharedName);
            if let Some(warning) = &warning {
                assert!(
                    warning.what.contains("kadabra_queue") && warning.what.ends_with("under the name here too"),
                    "{warning:?}"
                );
                assert!(warning.mend.contains("agent.name"), "{warning:?}");
            }
            warning.is_some()
        };
        let before = channel(&server);
        for _ in 0..3 {
            assert!(!is_told(&before).await);
        }
        // It has ended, and the next one has begun.
        let one = channel(&server);
        for _ in 0..3 {
            assert!(!is_told(&one).await);
        }
        let other = channel(&server);
        let of_another_name = RedisChannel::new(&settings(&server.url()), "there", Duration::from_nanos(1)).unwrap();
        let mut told = (false, false);
        for _ in 0..4 {
            told = (is_told(&one).await, is_told(&other).await);
            assert!(!is_told(&of_another_name).await);
        }
        assert_eq!(told, (true, true));
    });
}
