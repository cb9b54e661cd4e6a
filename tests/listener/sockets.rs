//! Where clients connect to: addresses, sockets in the file system, and ports that somebody else has.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use kadabra::channel::embedded::test_server::{Settings, TestServer};

use super::{Q, address, listener, said, with};
use crate::support::{agent::kadabra, redis_server::RedisServer};

fn refused(set: impl FnOnce(&mut Settings)) -> String {
    let mut settings = Settings::default();
    set(&mut settings);
    TestServer::start(settings).unwrap_err().to_string()
}

#[test]
fn every_address_is_served() {
    let listener = with(|settings| settings.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]);
    // A machine without IPv6 has one.
    assert!(!listener.addresses().is_empty());
    for address in listener.addresses() {
        assert_eq!(said(*address, b"PING\r\nQUIT\r\n"), "+PONG\r\n+OK\r\n", "{address}");
    }
}

#[test]
fn a_port_that_a_redis_has_is_said_with_how_to_use_that_redis() {
    for redis in [RedisServer::start(), RedisServer::with_password("secret")] {
        let taken = SocketAddr::from(([127, 0, 0, 1], redis.port()));
        let said = refused(|settings| settings.listen = vec![taken]);
        assert!(said.contains(&format!("cannot listen for clients on {taken}: a Redis answers there")), "{said}");
        let configuration = format!("\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://{taken}/0\"\n");
        assert!(said.contains(&configuration), "{said}");
    }
}

#[test]
fn on_a_terminal_the_lines_that_use_that_redis_are_lines() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let mut agent = kadabra();
    agent.arg("run").env("KADABRA_LOG__FORMAT", "terminal").env("KADABRA_CHANNEL__EMBEDDED__PATH", folder.path().join("q.db"));
    let address = format!("127.0.0.1:{}", redis.port());
    let output = agent.env("KADABRA_CHANNEL__EMBEDDED__LISTEN", &address).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines =
        format!("\n    [channel]\n    type = \"redis\"\n    [channel.redis]\n    url = \"redis://{address}/0\"\n    or end");
    assert!(said.contains(&lines) && !said.contains("\\n"), "{said}");
}

#[test]
fn a_port_that_another_agent_has_is_said() {
    for password in [None, Some("secret".to_owned())] {
        let first = with(|settings| settings.password = password.map(kadabra::config::Secret::new));
        let said = refused(|settings| settings.listen = vec![address(&first)]);
        assert!(said.contains("another Kadabra agent listens there"), "{said}");
    }
}

#[test]
fn a_port_whose_owner_has_no_place_for_another_client_is_said_and_it_is_not_taken_for_a_redis() {
    let first = with(|settings| settings.max_connections = 1);
    let mut only = super::connect(address(&first));
    only.write_all(b"PING\r\n").unwrap();
    assert_eq!(super::line(&mut only), "+PONG");
    let said = refused(|settings| settings.listen = vec![address(&first)]);
    assert!(said.contains("a Redis or another Kadabra agent answers there, and has no place for another client"), "{said}");
    assert!(said.contains("if it is a Redis, to use that, configure\n[channel]\n"), "{said}");
}

#[test]
fn a_port_that_something_else_has_is_said() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = refused(|settings| settings.listen = vec![other.local_addr().unwrap()]);
    assert!(said.contains("another program listens there, and does not answer as a Redis does"), "{said}");
}

#[test]
fn an_address_that_this_machine_has_not_is_said() {
    let said = refused(|settings| {
        settings.listen = vec!["203.0.113.1:6379".parse().unwrap()];
    });
    assert!(said.contains("listen on an address that this machine has"), "{said}");
}

#[test]
fn an_address_that_the_system_refuses_is_said_with_the_key_and_what_to_do() {
    for (address, remedy) in [("[fe80::1]:6379", "listen on another"), ("[ff02::1]:6379", "such as 127.0.0.1")] {
        let said = refused(|settings| {
            settings.listen = vec![address.parse().unwrap()];
        });
        assert!(said.contains(&format!("cannot listen for clients on {address}: ")) && said.contains(remedy), "{said}");
    }
}

#[test]
fn a_client_that_is_silent_is_asked_whether_it_is_still_there() {
    for (after, asked) in [(Some(Duration::from_secs(300)), true), (None, false)] {
        let listener = with(|settings| settings.tcp_keepalive = after);
        let mut client = super::connect(address(&listener));
        client.write_all(b"PING\r\n").unwrap();
        assert_eq!(super::line(&mut client), "+PONG");
        let mut ss = crate::support::process::command("ss");
        let output = ss.args(["-tnoH", "state", "established", "src", &address(&listener).to_string()]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.contains("timer:(keepalive,"), asked, "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!asked || said.contains("(keepalive,4min") || said.contains("(keepalive,5min"), "{said}");
    }
}

/// Two network namespaces with a cable between them, which ends with it.
struct Cable {
    namespace: String,
    link: String,
}

impl Cable {
    fn new() -> Self {
        let id = std::process::id();
        let cable = Self { namespace: format!("kadabra-{id}"), link: format!("kdb{id}") };
        let (namespace, link) = (&cable.namespace, &cable.link);
        Self::ip(&format!("netns add {namespace}"));
        Self::ip(&format!("link add {link} type veth peer name there netns {namespace}"));
        Self::ip(&format!("address add 198.18.77.1/30 dev {link}"));
        Self::ip(&format!("link set {link} up"));
        Self::ip(&format!("-n {namespace} address add 198.18.77.2/30 dev there"));
        Self::ip(&format!("-n {namespace} link set there up"));
        cable
    }

    fn ip(arguments: &str) {
        let status = crate::support::process::command("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}: run as root, with iproute2 from tests/run");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(crate::support::process::command("ip").args(["netns", "delete", &self.namespace]).status());
        drop(crate::support::process::command("ip").args(["link", "delete", &self.link]).output());
    }
}

#[test]
fn a_client_that_vanished_without_a_word_loses_its_place() {
    let cable = Cable::new();
    let listener = with(|settings| {
        settings.listen = vec!["198.18.77.1:0".parse().unwrap()];
        settings.max_connections = 1;
        settings.tcp_keepalive = Some(Duration::from_secs(1));
    });
    let (host, port) = (address(&listener).ip(), address(&listener).port());
    let mut client = crate::support::process::command("ip");
    let talk = format!("exec 3<>/dev/tcp/{host}/{port} && printf 'PING\\r\\n' >&3 && head -c 7 <&3 && exec sleep 1000");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    client.args(["netns", "exec", &cable.namespace, "bash", "-c", &talk]);
    let _client = crate::support::process::Process::start("a client", client, &log);
    let answered = || fs::read_to_string(&log).unwrap().contains("+PONG");
    crate::support::process::wait_for("the client to be connected", super::PATIENCE, || answered().then_some(()));
    let ping = || said(address(&listener), b"PING\r\nQUIT\r\n");
    assert_eq!(ping(), "-ERR max number of clients reached\r\n");
    Cable::ip(&format!("-n {} link set there down", cable.namespace));
    crate::support::process::wait_for("the place of who is gone", super::PATIENCE, || {
        (ping() == "+PONG\r\n+OK\r\n").then_some(())
    });
}

#[test]
fn a_socket_in_the_file_system_is_for_whom_its_mode_says_and_goes_with_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.sock");
    // What is left of one that nobody listens on.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut listener = with(|settings| {
        settings.listen.clear();
        settings.unix_socket = Some(path.clone());
    });
    let file = fs::symlink_metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    let mut connection = redis::Client::open(format!("unix://{}", path.display())).unwrap().get_connection().unwrap();
    assert_eq!(redis::cmd("LPUSH").arg(Q).arg("a").query(&mut connection), Ok(1));
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).unwrap();
    assert!(list.contains(&format!("addr={}:0", path.display())), "{list}");

    let said = refused(|settings| settings.unix_socket = Some(path.clone()));
    assert!(said.contains("another program listens there"), "{said}");
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"PING\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n+OK\r\n");

    assert!(listener.end());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    let said = refused(|settings| settings.unix_socket = Some(path.clone()));
    assert!(said.contains("which is no socket"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), b"data");
    let said = refused(|settings| settings.unix_socket = Some(folder.path().join("missing/kadabra.sock")));
    assert!(said.contains("its folder must exist"), "{said}");
    drop(listener());
}
