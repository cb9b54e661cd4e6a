//! What a client can do, through the client that is the agent's own, and what it is told when it cannot.

use kadabra::channel::embedded::test_server::FaultMode;
use redis::{Client, Commands as _, Connection, ProtocolVersion, Value};

use super::{Q, address, listener, with};
use kadabra::channel::embedded::test_server::TestServer;

fn client(listener: &TestServer, login: &str, rest: &str) -> Client {
    Client::open(format!("redis://{login}{}/{rest}", address(listener))).unwrap()
}

fn connection(listener: &TestServer) -> Connection {
    client(listener, "", "0").get_connection().unwrap()
}

fn refused<T: std::fmt::Debug + redis::FromRedisValue>(connection: &mut Connection, command: &str) -> String {
    let mut words = command.split(' ');
    let mut asked = redis::cmd(words.next().unwrap());
    for word in words {
        asked.arg(word);
    }
    asked.query::<T>(connection).unwrap_err().to_string()
}

#[test]
fn a_push_to_another_queue_is_refused_by_name() {
    let listener = listener();
    let error = refused::<Value>(&mut connection(&listener), "LPUSH kadabra_queu x");
    assert!(error.contains("'kadabra_queu' is not the queue of this Kadabra agent, which is 'kadabra_queue'"), "{error}");
    assert!(listener.messages().is_empty());
}

/// To a Redis it would be an empty list, in which nobody notices a typo.
#[test]
fn a_look_at_another_queue_is_refused_by_name() {
    let listener = with(|settings| settings.allow_delete = true);
    let mut connection = connection(&listener);
    let _: usize = connection.lpush(Q, "a").unwrap();
    for command in ["LLEN typo", "LRANGE typo 0 -1", "DEL kadabra_queue typo"] {
        let error = refused::<Value>(&mut connection, command);
        assert!(error.contains("'typo' is not the queue of this Kadabra agent, which is 'kadabra_queue'"), "{command}: {error}");
    }
    assert_eq!(listener.messages().len(), 1);
}

#[test]
fn info_says_what_a_full_queue_is_full_of_and_why_pushes_are_refused() {
    let listener = with(|settings| settings.max_waiting_bytes = 12_345_678);
    let mut connection = connection(&listener);
    let _: usize = connection.lpush(Q, "12345").unwrap();
    let mut info = |section: &str| redis::cmd("INFO").arg(section).query::<String>(&mut connection).unwrap();
    let memory = info("memory");
    for line in ["used_memory:5", "maxmemory:1073741824", "listener_max_bytes:12345678"] {
        assert!(memory.lines().any(|it| it == line), "{line}: {memory}");
    }
    let well = info("kadabra");
    for line in ["# Kadabra", "queue_length:1", "used_bytes:5", "dead_letters:0", "messages_refused:0"] {
        assert!(well.lines().any(|it| it == line), "{line}: {well}");
    }
    assert!(!well.contains("refused_because"), "{well}");
    let json: String = redis::cmd("KADABRA").query(&mut connection).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["queue"], &json["status"]["waiting"]), (&Q.into(), &1.into()), "{json}");
    listener.set(FaultMode::Full);
    for _ in 0..3 {
        refused::<Value>(&mut self::connection(&listener), &format!("LPUSH {Q} a"));
    }
    let info = |section: &str| redis::cmd("INFO").arg(section).query::<String>(&mut self::connection(&listener)).unwrap();
    let full = info("kadabra");
    assert!(full.contains("messages_refused:3\r\n") && full.contains("refused_because:the queue's file has no room"), "{full}");
    // At once, and not each time.
    let log = listener.log();
    assert_eq!(log.matches("what clients push is refused").count(), 1, "{log}");
    assert!(log.contains("raise channel.embedded.max_bytes"), "{log}");
    listener.set(FaultMode::Failing("no\r\nfield:forged".to_owned()));
    refused::<Value>(&mut self::connection(&listener), &format!("LPUSH {Q} a"));
    listener.set(FaultMode::None);
    let failing = info("kadabra");
    assert!(failing.contains("refused_because:no field:forged\r\n"), "{failing}");
    let _: usize = self::connection(&listener).lpush(Q, "a").unwrap();
    assert!(!info("kadabra").contains("refused_because"));
}

#[test]
fn the_agents_own_client_pushes_and_an_agent_that_takes_it_for_a_redis_is_refused() {
    use kadabra::channel::Channel as _;
    let listener = listener();
    let settings = kadabra::config::Redis {
        mode: kadabra::config::RedisMode::Single(kadabra::config::Secret::new(format!("redis://{}/0", address(&listener)))),
        password: None,
        tls: kadabra::config::Tls::default(),
        queue_key: Q.into(),
        inprogress_key: "kadabra_inprogress".to_owned(),
        lease: std::time::Duration::from_secs(60),
        timeout: std::time::Duration::from_secs(5),
        max_dead_letters: 10,
        max_message_bytes: 1 << 20,
        wait_replicas: 0,
    };
    let channel = kadabra::channel::redis::RedisChannel::new(&settings, "here", std::time::Duration::from_secs(60)).unwrap();
    actix_rt::System::new().block_on(async {
        channel.push(b"a message").await.unwrap();
        let said = channel.open().await.unwrap_err().to_string();
        assert!(said.contains("this is a Kadabra agent"), "{said}");
    });
    assert_eq!(listener.messages(), ["a message"]);
}

#[test]
fn another_database_is_refused() {
    let listener = listener();
    let error = client(&listener, "", "1").get_connection().err().unwrap().to_string();
    assert!(error.contains("database 0 only") || error.contains("out of range"), "{error}");
    let error = refused::<Value>(&mut connection(&listener), "SELECT 1");
    assert!(error.contains("set the client's db to 0"), "{error}");
}

#[test]
fn who_takes_messages_is_told_that_the_agent_does() {
    let listener = listener();
    let mut connection = connection(&listener);
    for command in ["RPOP", "lpop", "BRPOPLPUSH", "BLMOVE", "LTRIM"] {
        let error = refused::<Value>(&mut connection, &format!("{command} {Q} kadabra_inprogress 1"));
        assert!(error.contains("is itself the channel and takes them itself"), "{error}");
    }
}

#[test]
fn what_waits_is_deleted_only_where_that_is_allowed() {
    let listener_of = |allowed| with(|settings| settings.allow_delete = allowed);
    let listener = listener_of(false);
    let mut connection_of = connection(&listener);
    let _: usize = connection_of.lpush(Q, "a").unwrap();
    let error = refused::<Value>(&mut connection_of, &format!("DEL {Q}"));
    assert!(error.contains("see allow_delete in [channel.embedded]"), "{error}");
    assert_eq!(listener.messages().len(), 1);

    let listener = listener_of(true);
    let mut connection = connection(&listener);
    let _: usize = connection.lpush(Q, "a").unwrap();
    assert_eq!(connection.del(Q), Ok(1));
    assert!(listener.messages().is_empty());
}

#[test]
fn a_queue_that_is_full_or_fails_is_answered_so_and_nothing_else_is_harmed() {
    let listener = listener();
    let mut connection = connection(&listener);
    listener.set(FaultMode::Full);
    let error = refused::<Value>(&mut connection, &format!("LPUSH {Q} a"));
    assert!(error.contains("OOM") && error.contains("command not allowed when used memory > 'maxmemory'"), "{error}");
    listener.set(FaultMode::Failing("cannot write\r\nto queue.db: the disk is full".to_owned()));
    let error = refused::<Value>(&mut connection, &format!("RPUSH {Q} a"));
    assert!(error.contains("MISCONF") && error.contains("cannot write  to queue.db: the disk is full"), "{error}");
    let error = refused::<Value>(&mut connection, &format!("LLEN {Q}"));
    assert!(error.contains("the disk is full"), "{error}");
    assert_eq!(redis::cmd("PING").query(&mut connection), Ok("PONG".to_owned()));
    listener.set(FaultMode::None);
    assert_eq!(connection.lpush(Q, "a"), Ok(1));
}

#[test]
fn a_client_with_the_password_is_let_in_and_no_other() {
    let listener = with(|settings| {
        settings.password = Some(kadabra::config::Secret::new("right"));
        settings.wrong_password_pause = std::time::Duration::from_millis(50);
    });
    for login in [":right@", "default:right@"] {
        for protocol in ["0", "0?protocol=resp3"] {
            let mut connection = client(&listener, login, protocol).get_connection().unwrap();
            let _: usize = connection.lpush(Q, "a").unwrap();
        }
    }
    let pushed = listener.messages().len();
    for login in ["", ":wrong@", ":righ@", ":rightt@", "other:right@"] {
        for protocol in ["0", "0?protocol=resp3"] {
            let said = client(&listener, login, protocol)
                .get_connection()
                .and_then(|mut connection| connection.lpush::<_, _, usize>(Q, "a"))
                .unwrap_err()
                .to_string();
            assert!(
                ["Authentication required", "WRONGPASS", "NOAUTH", "authentication failed", "must be called"]
                    .iter()
                    .any(|word| said.to_lowercase().contains(&word.to_lowercase())),
                "{login}{protocol}: {said}"
            );
        }
    }
    assert_eq!(listener.messages().len(), pushed);
    let log = listener.log();
    assert!(log.contains("wrong password") && !log.contains("right@"), "{log}");
}

#[test]
fn both_protocols_answer_with_the_same_meaning() {
    let listener = listener();
    for protocol in [ProtocolVersion::RESP2, ProtocolVersion::RESP3] {
        let rest = if protocol == ProtocolVersion::RESP3 { "0?protocol=resp3" } else { "0" };
        let mut connection = client(&listener, "", rest).get_connection().unwrap();
        let info: String = redis::cmd("INFO").query(&mut connection).unwrap();
        for field in
            ["redis_version:", "redis_mode:standalone", "role:master", "loading:0", "queue:kadabra_queue", "queue_length:"]
        {
            assert!(info.lines().any(|line| line.starts_with(field)), "{field}: {info}");
        }
        let section: String = redis::cmd("INFO").arg("Server").query(&mut connection).unwrap();
        assert!(section.starts_with("# Server") && !section.contains("# Clients"), "{section}");
        let docs: std::collections::HashMap<String, Value> = redis::cmd("COMMAND").arg("DOCS").query(&mut connection).unwrap();
        assert!(docs.contains_key("lpush") && docs.contains_key("llen"), "{docs:?}");
        let _: () = redis::cmd("CLIENT").arg("SETNAME").arg("me").query(&mut connection).unwrap();
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).unwrap();
        let number = if protocol == ProtocolVersion::RESP3 { 3 } else { 2 };
        assert!(list.lines().any(|line| line.contains(" name=me ") && line.contains(&format!(" resp={number}"))), "{list}");
        let pushed: (u64, u64) = redis::pipe().atomic().lpush(Q, "a").lpush(Q, "b").query(&mut connection).unwrap();
        assert_eq!(pushed.1, pushed.0 + 1);
    }
}

#[test]
fn a_look_at_more_than_fits_into_memory_is_refused() {
    let listener = with(|settings| {
        settings.max_message_bytes = 1 << 20;
        settings.max_waiting_bytes = 4 << 20;
    });
    let mut connection = connection(&listener);
    let message = "x".repeat(1 << 20);
    for _ in 0..3 {
        let _: usize = connection.lpush(Q, &message).unwrap();
    }
    let one: Vec<String> = connection.lrange(Q, 0, 0).unwrap();
    assert_eq!(one, [message]);
    let error = refused::<Value>(&mut connection, &format!("LRANGE {Q} 0 -1"));
    assert!(error.contains("ask for fewer messages"), "{error}");
    assert_eq!(connection.llen(Q), Ok(3));
}

#[test]
fn what_a_client_says_of_itself_is_taken_and_shown_in_one_pipeline() {
    let listener = listener();
    for protocol in ["2", "3"] {
        let inline = format!(
            "HELLO {protocol}\r\nCLIENT SETINFO LIB-NAME kadabra-py\r\nCLIENT SETINFO LIB-VER 0.5\r\nCLIENT SETNAME web\r\n\
             CLIENT LIST\r\nRESET\r\nCLIENT LIST\r\nQUIT\r\n"
        );
        let words = |line: &str| super::command(&line.split(' ').collect::<Vec<_>>());
        let wire: Vec<u8> = inline.lines().flat_map(words).collect();
        for sent in [inline.as_bytes(), wire.as_slice()] {
            let said = super::said(address(&listener), sent);
            assert!(said.contains("\r\n+OK\r\n+OK\r\n+OK\r\n"), "{said}");
            assert!(said.contains(" name=web ") && said.contains("lib-name=kadabra-py lib-ver=0.5"), "{said}");
            assert!(said.starts_with(if protocol == "3" { "%" } else { "*" }), "{said}");
            // After RESET it speaks RESP2 and has no name.
            let (_, after) = said.split_once("+RESET\r\n").unwrap();
            assert!(after.starts_with('$') && after.contains(" name= ") && after.contains(" resp=2\n"), "{said}");
        }
    }
}

#[test]
fn what_cannot_be_queued_in_a_transaction_ends_it() {
    let listener = listener();
    for wrong in ["CLIENT NONSENSE", "COMMAND NONSENSE", "NONSENSE", "CLIENT SETINFO lib-name", "LPUSH"] {
        let talk = format!("MULTI\r\n{wrong}\r\nLPUSH {Q} a\r\nEXEC\r\nLLEN {Q}\r\nQUIT\r\n");
        let answers = super::said(address(&listener), talk.as_bytes());
        let lines: Vec<_> = answers.lines().collect();
        assert!(lines[1].starts_with("-ERR "), "{answers}");
        let rest = ["+QUEUED", "-EXECABORT Transaction discarded because of previous errors.", ":0", "+OK"];
        assert_eq!(lines[2..], rest, "{wrong}");
    }
}

/// What clients look for before they push, such as redis-py's own tests.
#[test]
fn info_says_what_clients_look_for() {
    let listener = listener();
    let info: String = redis::cmd("INFO").query(&mut connection(&listener)).unwrap();
    let port = format!("tcp_port:{}", address(&listener).port());
    for field in ["redis_version:7", "redis_mode:standalone", "role:master", "loading:0", "cluster_enabled:0", &port] {
        assert!(info.lines().any(|line| line.starts_with(field)), "{field} is not in {info}");
    }
}

/// What redis-py 8 asks for when it connects, and others no client asks for that pushes.
#[test]
fn a_client_goes_on_after_a_command_that_is_not_there() {
    let listener = listener();
    let mut connection = connection(&listener);
    for command in ["CLIENT MAINT_NOTIFICATIONS ON", "CLIENT REPLY OFF", "COMMAND COUNT"] {
        let error = refused::<Value>(&mut connection, command);
        assert!(error.to_lowercase().contains("unknown subcommand"), "{command}: {error}");
    }
    for command in ["TYPE kadabra_queue", "EXISTS kadabra_queue", "TIME"] {
        let error = refused::<Value>(&mut connection, command);
        assert!(error.to_lowercase().contains("unknown command"), "{command}: {error}");
    }
    assert_eq!(connection.lpush(Q, "a"), Ok(1));
}
