//! The same bytes to a real redis-server and to the listener: the same bytes back.

use super::{Q, command, said, with};
use crate::support::redis_server::RedisServer;

/// What each of both answers, once it has answered all.
fn both(cases: &[Vec<u8>], password: Option<&str>) -> Vec<(String, String, String)> {
    let redis = match password {
        Some(password) => RedisServer::with_password(password),
        None => RedisServer::start(),
    };
    let ours = with(|settings| {
        settings.allow_delete = true;
        settings.password = password.map(kadabra::config::Secret::new);
        settings.wrong_password_pause = std::time::Duration::ZERO;
    });
    let quit = b"\r\nQUIT\r\n";
    let ask = |address, case: &[u8]| {
        if let Some(password) = password {
            let cleared = said(address, format!("AUTH {password}\r\nDEL {Q}\r\nQUIT\r\n").as_bytes());
            assert!(cleared.starts_with("+OK\r\n:"), "{cleared}");
        } else {
            let cleared = said(address, format!("DEL {Q}\r\nQUIT\r\n").as_bytes());
            assert!(cleared.starts_with(':'), "{cleared}");
        }
        said(address, &[case, quit].concat())
    };
    let port = redis.port();
    let answers = cases.iter().map(|case| {
        let shown = case.escape_ascii().to_string();
        (shown, ask(([127, 0, 0, 1], port).into(), case), ask(super::address(&ours), case))
    });
    answers.collect()
}

fn same(cases: &[Vec<u8>], password: Option<&str>) {
    for (sent, theirs, ours) in both(cases, password) {
        assert_eq!(theirs, ours, "Redis's answer and ours, to {sent:.300}");
    }
}

fn lines(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.replace("$Q", Q).into_bytes()).collect()
}

#[test]
fn commands_are_answered_as_by_redis() {
    same(
        &lines(&[
            "LPUSH $Q a\r\nLPUSH $Q b c\r\nRPUSH $Q d\r\nLLEN $Q\r\nLRANGE $Q 0 -1\r\n",
            "RPUSH $Q 1 2 3 4 5\r\nLRANGE $Q 1 3\r\nLRANGE $Q -2 -1\r\nLRANGE $Q -100 100\r\nLRANGE $Q 3 1\r\nLRANGE $Q 9 10\r\n\
             LRANGE $Q -9 -8\r\nLRANGE $Q 0 -6\r\n",
            "LRANGE $Q a b\r\nLRANGE $Q 0 1.0\r\nLRANGE $Q 0 9223372036854775807\r\nLRANGE $Q -9223372036854775808 0\r\n",
            "LRANGE $Q 0 99999999999999999999\r\nLRANGE $Q 00 1\r\nLRANGE $Q +1 1\r\nLRANGE $Q -0 1\r\n",
            "LLEN $Q\r\nDEL $Q\r\nLPUSH $Q a\r\nDEL $Q $Q\r\nDEL $Q\r\n",
            "PING\r\nping\r\nPiNg hello\r\nPING a b\r\nECHO hi\r\nECHO\r\nECHO a b\r\n",
            "LPUSH\r\nLPUSH $Q\r\nlLeN\r\nLLEN a b\r\nLRANGE $Q\r\nDEL\r\nSELECT\r\nAUTH\r\nMULTI x\r\n",
            "SELECT 0\r\nSELECT a\r\nSELECT 99999999999\r\nSELECT 0 1\r\n",
            "AUTH x\r\nAUTH default x\r\nAUTH other x\r\nAUTH a b c\r\n",
            "CLIENT SETNAME me\r\nCLIENT SETNAME \"a b\"\r\nCLIENT SETNAME\r\nCLIENT\r\n",
            "RESET\r\nQUIT now\r\nPING\r\n",
            "HELLO 9\r\nHELLO x\r\nHELLO 3 NOPE\r\nHELLO 3 AUTH a\r\nHELLO 2 SETNAME \"a b\"\r\n",
        ]),
        None,
    );
}

#[test]
fn transactions_are_answered_as_by_redis() {
    same(
        &lines(&[
            "MULTI\r\nLPUSH $Q a b\r\nLLEN $Q\r\nLPUSH $Q c\r\nLRANGE $Q 0 -1\r\nEXEC\r\nLLEN $Q\r\n",
            "MULTI\r\nEXEC\r\nEXEC\r\nDISCARD\r\n",
            "MULTI\r\nLPUSH $Q a\r\nDISCARD\r\nLLEN $Q\r\nEXEC\r\n",
            "MULTI\r\nMULTI\r\nLPUSH $Q a\r\nEXEC\r\n",
            "MULTI\r\nLPUSH $Q\r\nLPUSH $Q a\r\nEXEC\r\nLLEN $Q\r\n",
            "MULTI\r\nLRANGE $Q x y\r\nLPUSH $Q a\r\nEXEC\r\n",
            "MULTI\r\nPING\r\nEXEC x\r\nEXEC\r\n",
            "MULTI\r\nPING\r\nRESET\r\nEXEC\r\n",
            "MULTI\r\nSELECT 0\r\nECHO a\r\nEXEC\r\n",
            "MULTI\r\nPING\r\nQUIT\r\n",
            "MULTI\r\nCLIENT SETNAME\r\nLPUSH $Q a\r\nEXEC\r\nLLEN $Q\r\n",
            "MULTI\r\nCLIENT\r\nLPUSH $Q a\r\nEXEC\r\nLLEN $Q\r\n",
        ]),
        None,
    );
}

#[test]
fn the_wire_is_read_as_by_redis() {
    let mut cases = lines(&[
        "*-5\r\nPING\r\n",
        "*0\r\n*-1\r\nPING\r\n",
        "*1\r\n$0\r\n\r\nPING\r\n".trim_start_matches("*1\r\n$0\r\n\r\n"),
        "$abc\r\n".trim_end_matches("$abc\r\n"),
        "*abc\r\n",
        "*\r\n",
        "*01\r\n",
        "*+1\r\n",
        "* 1\r\n",
        "*99999999999\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-5\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$99999999999\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n:5\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n*1\r\n$4\r\nPING\r\n",
        "*2\r\n$4\r\nECHO\r\nhello\r\n",
        "*1\r\n$4\r\nPINGxxPING\r\n",
        "*1\rx$4\r\nPING\r\n",
        "PING\nPING\r\n\n\r\n  \r\nECHO 'a b'\r\n",
        "ECHO \"\\x41\\n\\\"\"\r\nECHO 'it\\'s'\r\nECHO a\"b\"\r\nECHO \"\"\r\n",
        "ECHO \"a\r\n",
        "ECHO 'a'b\r\n",
        "PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n*x\r\nPING\r\n",
        "LPUSH $Q a\r\n*3\r\n$5\r\nLPUSH\r\n!",
    ]);
    cases.push(command(&[b"LPUSH".as_slice(), Q.as_bytes(), b"\x00\r\n$3\xff", &[b'x'; 70_000]]));
    cases.push([command(&["LPUSH", Q, "\r\n"]), command(&["LRANGE", Q, "0", "-1"])].concat());
    same(&cases, None);
}

#[test]
fn lines_without_an_end_are_given_up_as_by_redis() {
    let (redis, ours) = (RedisServer::start(), super::listener());
    let theirs = ([127, 0, 0, 1], redis.port()).into();
    for begin in ["*1", "*1\r\n$1", "PING "] {
        let line = format!("{begin}{}", "x".repeat(66_000));
        let answers = [theirs, super::address(&ours)].map(|address| said(address, line.as_bytes()));
        assert!(answers[0].starts_with("-ERR Protocol error: too big "), "{}", answers[0]);
        assert_eq!(answers[0], answers[1], "{begin}");
    }
}

#[test]
fn who_is_not_let_in_is_told_so_as_by_redis() {
    same(
        &lines(&[
            "PING\r\nLPUSH $Q a\r\nAUTH wrong\r\nLLEN $Q\r\nAUTH secret\r\nLLEN $Q\r\n",
            "AUTH default wrong\r\nAUTH other secret\r\nAUTH default secret\r\nPING\r\n",
            "HELLO 3\r\nHELLO 2 AUTH default wrong\r\nLPUSH $Q\r\nMULTI\r\nEXEC\r\nCLIENT SETNAME x\r\nSELECT 0\r\n",
            "AUTH secret\r\nPING\r\nRESET\r\nPING\r\n",
            "*11\r\n$4\r\nPING\r\n",
            "*1\r\n$16385\r\n",
            "QUIT\r\n",
        ]),
        Some("secret"),
    );
}

/// Only what it says of itself differs.
#[test]
fn what_is_not_there_is_refused_as_by_redis_and_then_explained() {
    let long = format!("{0} {0} {0}\r\n", "y".repeat(100));
    let mut cases =
        lines(&["NONSENSE\r\n", "nonsense 'a b' c\r\n", "SET a 1\r\n".trim_start_matches("SET a 1\r\n"), "FLUSH a\r\n"]);
    cases.push(long.into_bytes());
    cases.push(command(&["NONSENSE", "\r\n"]));
    cases.push(command(&[""]));
    for (sent, theirs, ours) in both(&cases, None) {
        let theirs: Vec<_> = theirs.lines().collect();
        let ours: Vec<_> = ours.lines().collect();
        assert_eq!(theirs.len(), ours.len(), "{sent}");
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert!(ours.starts_with(theirs), "{sent}: {theirs} … {ours}");
        }
    }
}

#[test]
fn who_speaks_resp3_is_answered_as_by_redis() {
    // What comes before the mark is what each says of itself.
    let cases = lines(&[
        "LPUSH $Q a b\r\nLLEN $Q\r\nLRANGE $Q 0 -1\r\nPING\r\nPING hi\r\nSELECT 0\r\nLPUSH $Q\r\n",
        "CLIENT SETNAME me\r\nAUTH a b c\r\nLRANGE $Q x y\r\n",
        "MULTI\r\nLPUSH $Q a\r\nCLIENT SETNAME me\r\nEXEC\r\nMULTI\r\nLPUSH $Q\r\nEXEC\r\nDISCARD\r\n",
        "RESET\r\nLLEN $Q\r\n",
    ]);
    let cases: Vec<_> = cases.iter().map(|case| [b"HELLO 3\r\nECHO mark\r\n", case.as_slice()].concat()).collect();
    for (sent, theirs, ours) in both(&cases, None) {
        let after = |answer: &str| answer.split_once("mark\r\n").unwrap().1.to_owned();
        assert_eq!(after(&theirs), after(&ours), "Redis's answer and ours, to {sent:.300}");
    }
}
