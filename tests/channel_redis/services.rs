//! What managed services refuse, and an agent can do without; and what it cannot, which is a sentence.
//!
//! That they forget scripts at a restart is in `outages.rs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use kadabra::channel::{Patience, RefusedPoint};

use super::*;
use crate::support::{agent::kadabra, process};

const PATIENCE: Patience = Patience { age: LONG, messages: 100_000 };

/// ElastiCache, MemoryDB, Azure and Memorystore have no CONFIG.
#[test]
fn without_config_all_works_and_what_is_not_known_is_told() {
    let server = RedisServer::with(&["--rename-command", "CONFIG", "", "--rename-command", "MEMORY", ""]);
    let mut redis = server.connection();
    push(&mut redis, ["m"]);
    run(async {
        let channel = channel(&server);
        channel.open().await.unwrap();
        let lease = receive(&channel, 1, 100).await.unwrap();
        channel.complete(&mut vec![lease], &[]).await.unwrap();
        let found = channel.pressure(&PATIENCE).await.unwrap();
        assert!(found.warnings.is_empty() && found.unknown.len() == 1 && found.unknown[0].contains("CONFIG"), "{found:?}");
        settled(&channel, &mut redis);
    });
}

/// OCI's sharded Redis has no scripts.
#[test]
fn without_scripts_nothing_is_taken_and_that_is_said() {
    for command in ["EVALSHA", "SCRIPT"] {
        let server = RedisServer::with(&["--rename-command", command, ""]);
        push(&mut server.connection(), ["m"]);
        run(async {
            let channel = channel(&server);
            for said in [sentence(channel.open().await), sentence(channel.receive(ALL, NO_WAIT).await)] {
                assert!(said.contains("runs no scripts") && said.contains(&server.url()), "{command}: {said}");
                assert!(said.contains("use a Redis or Valkey that allows EVALSHA and SCRIPT LOAD"), "{command}: {said}");
            }
        });
        assert_eq!(list(&mut server.connection(), Q), ["m"]);
    }
}

/// A way to Redis that counts the arguments of each command, and tells the most.
fn counting(to: u16) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let most = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&most);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (server, most) = (TcpStream::connect(("127.0.0.1", to)).unwrap(), Arc::clone(&most));
            server.set_nodelay(true).unwrap();
            client.set_nodelay(true).unwrap();
            let (mut answers, mut asker) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || drop(std::io::copy(&mut answers, &mut asker)));
            thread::spawn(move || pass_on(BufReader::new(client), server, &most));
        }
    });
    (url, told)
}

/// Until either end closes.
fn pass_on(mut client: BufReader<TcpStream>, mut server: TcpStream, most: &AtomicUsize) {
    let (mut line, mut sent) = (Vec::new(), Vec::new());
    while client.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let number = std::str::from_utf8(&line[1..]).unwrap().trim().parse().unwrap();
        let counts = line[0] == b'*';
        sent.append(&mut line);
        if counts {
            most.fetch_max(number, Ordering::SeqCst);
        } else {
            let mut value = vec![0; number + 2];
            client.read_exact(&mut value).unwrap();
            sent.extend(value);
        }
        // All that has come at once is passed on at once.
        if client.buffer().is_empty() && server.write_all(&std::mem::take(&mut sent)).is_err() {
            break;
        }
    }
    drop(server.shutdown(std::net::Shutdown::Write));
}

/// ElastiCache Serverless takes no more arguments in a command.
#[test]
fn no_command_has_more_arguments_than_3999() {
    const MANY: usize = 2100;
    let server = RedisServer::for_agents();
    let mut redis = server.connection();
    push(&mut redis, (0..2 * MANY).map(|n| n.to_string()));
    let (url, most) = counting(server.port());
    run(async {
        let channel = RedisChannel::new(&settings(&url), "here", Duration::from_nanos(1)).unwrap();
        channel.open().await.unwrap();
        // Many leases, one of them with many messages, each of which is set aside.
        let mut leases = vec![channel.receive(Demand { messages: MANY, ..ALL }, NO_WAIT).await.unwrap().unwrap()];
        for _ in 1..MANY {
            leases.push(receive(&channel, 1, 100).await.unwrap());
        }
        let refused = || vec![RefusedPoint { metric: "été".into(), reason: "1 2 3 not \"this\"".into() }];
        let letters: Vec<_> = (0..MANY)
            .map(|n| match n % 3 {
                0 => DeadLetter { reason: String::new(), ..letter(&leases[0], n) },
                1 => DeadLetter { reason: format!("12 34 5 é{n}"), refused: refused(), ..letter(&leases[0], n) },
                _ => letter(&leases[0], n),
            })
            .collect();
        channel.renew().await.unwrap();
        let completed = channel.complete(&mut leases, &letters).await.unwrap();
        assert_eq!((completed.messages, completed.lost, leases.len()), (2 * MANY - 1, 0, 0));
        let dead: redis::streams::StreamRangeReply = redis.xrange_all(DEAD).unwrap();
        assert_eq!(dead.ids.len(), MANY);
        for (n, (kept, letter)) in dead.ids.iter().zip(&letters).enumerate() {
            let field = |name: &str| kept.get::<String>(name).unwrap();
            assert_eq!((field("payload"), field("reason")), (n.to_string(), letter.reason.clone()));
            assert_eq!(field("refused"), serde_json::to_string(&letter.refused).unwrap());
        }
        // As many lists that belong to no lease.
        let lists = redis::Script::new("for n = 1, ARGV[1] do redis.call('RPUSH', KEYS[1] .. n, 'm', 'n') end");
        let () = lists.key("{kadabra_queue}:lease:old:1-").arg(2 * MANY).invoke(&mut redis).unwrap();
        let mut found = 0;
        while found < 4 * MANY {
            found += channel.recover().await.unwrap().orphaned;
        }
        channel.pressure(&PATIENCE).await.unwrap();
        let most = most.load(Ordering::SeqCst);
        assert!((2000..=3999).contains(&most), "{most}");
    });
}

#[test]
fn a_socket_that_the_user_may_not_use_is_said() {
    let server = RedisServer::start();
    let socket = server.dir().join("redis.sock");
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("kadabra.toml"), folder.path().join("kadabra"));
    let allow = |path: &std::path::Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&file, format!("[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"unix://{}\"\n", socket.display()))
        .unwrap();
    std::fs::copy(kadabra().get_args().last().unwrap(), &program).unwrap();
    allow(folder.path(), 0o755);
    allow(server.dir(), 0o755);
    let is_root = std::fs::metadata(&file).is_ok_and(|file| std::os::unix::fs::MetadataExt::uid(&file) == 0);
    let check = || {
        // Root may use any socket.
        let mut command = process::command(if is_root { "setpriv".as_ref() } else { program.as_os_str() });
        if is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
        }
        let output = command.args(["check", "--online", "--config"]).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    allow(&socket, 0o000);
    let (code, said) = check();
    assert!(code == Some(69) && said.contains(&format!("cannot connect to unix://{}", socket.display())), "{said}");
    assert!(said.to_lowercase().contains("permission denied") && said.contains("unixsocketperm 770"), "{said}");
    allow(&socket, 0o777);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_file(&socket).unwrap();
    let (code, said) = check();
    assert!(code == Some(69) && said.contains("check that Redis is running there"), "{said}");
}
