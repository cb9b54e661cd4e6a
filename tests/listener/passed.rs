//! Sockets that systemd opens and keeps: clients that connect while no agent runs wait in them, and no restart hurts any.

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _, Write as _},
    iter,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, Q, agent::House, agent::push, command, connect, line};
use crate::support::{
    agent::{Agent, kadabra_with_socket},
    process::wait_for,
};

/// An agent that listens on a socket that outlives it.
struct Kept {
    house: House,
    socket: TcpListener,
}

impl Kept {
    fn new() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { house: House::at(socket.local_addr().unwrap()), socket }
    }

    fn agent(&self) -> Agent {
        self.house.agent().started_by(kadabra_with_socket(self.socket.try_clone().unwrap())).start()
    }
}

#[test]
fn what_is_pushed_while_no_agent_runs_is_taken_by_the_next() {
    let kept = Kept::new();
    let mut agent = kept.agent();
    let said = agent.wait_log("publishing");
    assert!(agent.log_text().contains("where systemd lets them wait while no agent runs"), "{said}");
    let mut sent = BTreeSet::new();
    for number in [1, 2] {
        if number == 1 {
            assert_eq!(agent.terminate(PATIENCE), Some(0));
        } else {
            agent.kill9();
        }
        let mut waiting = connect(kept.house.address);
        waiting.write_all(&push(number)).unwrap();
        sent.insert(number);
        agent = kept.agent();
        assert!(line(&mut waiting).starts_with(':'));
    }
    kept.house.assert_stored(&sent, &sent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// How a push went.
enum Outcome {
    Answered,
    /// The connection ended before the answer came, so long after it was made or asked whether it is open.
    Cut(Duration),
}

/// How long an agent that ends waits for a push on a connection that it has.
const LAST_PUSH: Duration = Duration::from_millis(250);

/// A client that connects for each push, or keeps its connection and looks whether it is open before each: as redis-py does.
struct Client {
    address: SocketAddr,
    keeps: bool,
    connection: Option<TcpStream>,
}

impl Client {
    fn push(&mut self, number: u64) -> Outcome {
        let began = Instant::now();
        let kept = self.connection.take().filter(is_open);
        let mut stream = kept.unwrap_or_else(|| connect(self.address));
        let introductions = if self.keeps { 0 } else { 2 };
        let introduction = command(&["CLIENT", "SETINFO", "LIB-NAME", "test"]);
        let commands = iter::repeat_n(introduction, introductions).chain([push(number)]);
        for bytes in commands {
            let mut answer = [0; 64];
            let answered = stream.write_all(&bytes).and_then(|()| stream.read(&mut answer));
            match answered {
                Ok(1..) => assert!(matches!(answer[0], b'+' | b':'), "{}", String::from_utf8_lossy(&answer)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no answer"),
                Ok(0) | Err(_) => return Outcome::Cut(began.elapsed()),
            }
        }
        self.connection = self.keeps.then_some(stream);
        Outcome::Answered
    }
}

/// Whether the other end has not closed.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    open
}

#[test]
fn restarts_refuse_and_fail_no_push_and_a_killed_agent_only_those_on_their_way() {
    const CLIENTS: u64 = 6;
    const RESTARTS: u64 = 5;
    const KILLED: u64 = 3;
    let kept = Kept::new();
    let mut agent = kept.agent();
    let (count, late, over, killed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let (count, late, over, killed, address) = (&count, &late, &over, &killed, kept.house.address);
    let (answered, sent) = thread::scope(|scope| {
        let client = move |number: u64| {
            let mut client = Client { address, keeps: number.is_multiple_of(2), connection: None };
            let (mut answered, mut sent) = (BTreeSet::new(), BTreeSet::new());
            for push in (number * 1_000_000..).take_while(|_| !over.load(Ordering::SeqCst)) {
                sent.insert(push);
                match client.push(push) {
                    Outcome::Answered => drop(answered.insert(push)),
                    Outcome::Cut(_) if killed.load(Ordering::SeqCst) => {}
                    // One that stood still for so long cannot be told from one that has nothing to push.
                    Outcome::Cut(after) => {
                        assert!(after >= LAST_PUSH, "cut by a clean end");
                        late.fetch_add(1, Ordering::SeqCst);
                    }
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
            (answered, sent)
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        for restart in 1..=RESTARTS {
            let before = count.load(Ordering::SeqCst);
            let pushed = || count.load(Ordering::SeqCst) - before;
            wait_for("clients to push", PATIENCE, || (pushed() > 200 || clients.iter().any(|it| it.is_finished())).then_some(()));
            killed.store(restart == KILLED, Ordering::SeqCst);
            if restart == KILLED {
                agent.kill9();
            } else {
                assert_eq!(agent.terminate(PATIENCE), Some(0));
            }
            agent = kept.agent();
        }
        wait_for("the last agent", PATIENCE, || agent.log_text().contains("publishing").then_some(()));
        over.store(true, Ordering::SeqCst);
        let mut all = (BTreeSet::new(), BTreeSet::new());
        for client in clients {
            let (mut answered, mut sent) = client.join().unwrap();
            all.0.append(&mut answered);
            all.1.append(&mut sent);
        }
        all
    });
    let cut = (sent.len() - answered.len()) as u64 - late.load(Ordering::SeqCst);
    assert!(cut <= CLIENTS, "{} of {}", answered.len(), sent.len());
    kept.house.assert_stored(&answered, &sent);
    assert_eq!(agent.terminate(PATIENCE), Some(0));
}

/// What an agent says that is started with this socket and this channel, and with which code it ends.
fn ends_with(socket: impl Into<OwnedFd>, channel: &str) -> (Option<i32>, String) {
    let mut agent =
        Agent::with(&format!("{channel}\n[publisher]\ntype = \"debug\"")).started_by(kadabra_with_socket(socket)).start();
    (agent.wait(PATIENCE), agent.log_text())
}

#[test]
fn a_socket_that_is_not_configured_ends_the_agent_with_a_sentence() {
    let elsewhere = || TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let embedded = |listen: &str| format!("[channel.embedded]\npath = {:?}\nlisten = {listen:?}", folder.path().join("q.db"));
    let socket = elsewhere();
    let address = socket.local_addr().unwrap();
    for channel in [embedded("127.0.0.1:7999"), "[channel]\ntype = \"redis\"".to_owned()] {
        let (code, said) = ends_with(socket.try_clone().unwrap(), &channel);
        assert_eq!(code, Some(78), "{said}");
        assert!(
            said.contains(&format!("systemd passes a socket at {address} (of test.socket), where the agent does not listen")),
            "{said}"
        );
        assert!(said.contains("ListenStream="), "{said}");
    }
    let path = folder.path().join("kadabra.sock");
    let (code, said) = ends_with(UnixListener::bind(&path).unwrap(), &embedded("127.0.0.1:7999"));
    assert!(code == Some(78) && said.contains(&format!("a socket at {} (of test.socket)", path.display())), "{said}");

    // What Accept=yes passes, and what is no socket at all.
    let (code, said) = ends_with(TcpStream::connect(address).unwrap(), &embedded("127.0.0.1:7999"));
    assert!(code == Some(78) && said.contains("it is the connection of one client") && said.contains("Accept=no"), "{said}");
    let (code, said) = ends_with(std::fs::File::open("/dev/null").unwrap(), &embedded("127.0.0.1:7999"));
    assert!(code == Some(78) && said.contains("it is neither of TCP nor of UDP nor in the file system"), "{said}");
}

#[test]
fn tcp_and_a_path_are_passed_together_and_the_path_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.sock");
    let address = format!("127.0.0.1:{}", crate::support::process::free_port());
    let config = format!(
        "[channel.embedded]\npath = {:?}\nlisten = {address:?}\nunix_socket = {path:?}\n[publisher]\ntype = \"debug\"",
        folder.path().join("q.db")
    );
    let mut command = crate::support::process::command("systemd-socket-activate");
    command.args(["-l", &address, "-l", path.to_str().unwrap(), "--fdname=tcp:unix", env!("CARGO_BIN_EXE_kadabra")]);
    let mut agent = Agent::with(&config).started_by(command).start();
    // The agent is started by the first that connects.
    let mut client = wait_for("the socket", PATIENCE, || UnixStream::connect(&path).ok());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&[&self::command(&["LPUSH", Q, "no message"])[..], b"QUIT\r\n"].concat()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, ":1\r\n+OK\r\n");
    assert_eq!(super::said(address.parse().unwrap(), b"PING\r\nQUIT\r\n"), "+PONG\r\n+OK\r\n");
    assert_eq!(agent.terminate(PATIENCE), Some(0));
    assert!(Path::new(&path).exists());
}
