//! Values that are each right and cannot be right together.

use std::net::SocketAddr;
use std::time::Duration;

use super::error::Problem;
use super::values::{Found, Values};
use super::{Secret, open_to_others, url};

/// Every contradiction between values that are in use and right by themselves.
pub(super) fn all(values: &Values) -> Vec<Problem> {
    let mut problems = Vec::new();
    ordered(values, "publisher.backoff_min", "publisher.backoff_max", false, &mut problems);
    ordered(values, "supervisor.backoff_min", "supervisor.backoff_max", false, &mut problems);
    if values.uses("channel.redis") {
        // A lease must outlive one attempt to renew it.
        ordered(values, "channel.redis.timeout", "channel.redis.lease", true, &mut problems);
        // Waiting for a server that does not answer is not hanging.
        ordered(values, "channel.redis.timeout", "supervisor.hang_timeout", true, &mut problems);
        one_list_twice(values, &mut problems);
        redis_login(values, &mut problems);
    }
    if values.uses("channel.embedded") {
        smaller(values, "channel.embedded.max_message_bytes", "channel.embedded.max_waiting_bytes", &mut problems);
        smaller(values, "channel.embedded.max_message_bytes", "channel.embedded.max_bytes", &mut problems);
        listening(values, &mut problems);
        socket_at_the_queue(values, &mut problems);
    }
    if values.uses("publisher.influxdb") {
        ordered(values, "publisher.influxdb.timeout", "supervisor.hang_timeout", true, &mut problems);
        influxdb_login(values, &mut problems);
    }
    problems
}

/// That the first is no longer than the second, or `strictly` shorter.
fn ordered(values: &Values, shorter: &str, longer: &str, strictly: bool, problems: &mut Vec<Problem>) {
    let (Some(short), Some(long)) = (values.get::<Duration>(shorter), values.get::<Duration>(longer)) else { return };
    if short < long || (!strictly && short == long) {
        return;
    }
    let relations = if strictly { ("shorter than", "longer than") } else { ("no longer than", "no shorter than") };
    one_to_change(values, (shorter, longer), "a duration", relations, problems);
}

/// That the first size is no larger than the second.
fn smaller(values: &Values, smaller: &str, larger: &str, problems: &mut Vec<Problem>) {
    let (Some(small), Some(large)) = (values.get::<u64>(smaller), values.get::<u64>(larger)) else { return };
    if small > large {
        one_to_change(values, (smaller, larger), "a size", ("no larger than", "no smaller than"), problems);
    }
}

/// Of two values of which the first is too large beside the second, the one that somebody wrote.
fn one_to_change(values: &Values, two: (&str, &str), what: &str, relations: (&str, &str), problems: &mut Vec<Problem>) {
    let (Some(less), Some(more)) = (values.found(two.0), values.found(two.1)) else { return };
    let (blamed, other, relation) = if more.place.is_some() { (more, less, relations.1) } else { (less, more, relations.0) };
    problems.push(about(blamed, format!("expected {what} {relation} {}", described(other, blamed))));
}

fn one_list_twice(values: &Values, problems: &mut Vec<Problem>) {
    let (Some(queue), Some(inprogress)) = (values.found("channel.redis.queue_key"), values.found("channel.redis.inprogress_key"))
    else {
        return;
    };
    let name = |path| values.get::<String>(path);
    if name(queue.key.path).is_some() && name(queue.key.path) == name(inprogress.key.path) {
        let (blamed, other) =
            if queue.place.is_some() && inprogress.place.is_none() { (queue, inprogress) } else { (inprogress, queue) };
        problems.push(about(blamed, format!("expected another list than {}", described(other, blamed))));
    }
}

fn redis_login(values: &Values, problems: &mut Vec<Problem>) {
    let Some(url) = values.get::<Secret>("channel.redis.url") else { return };
    let (user, password) = url::redis_login(url.expose());
    if let Some(found) = values.found("channel.redis.url")
        && user
        && !password
        && values.found("channel.redis.password_file").is_some_and(Found::is_unset)
    {
        let sentence = "a user without a password; expected redis://user:password@host, redis://:password@host or channel.redis.password_file";
        problems.push(about(found, sentence.to_owned()));
    }
}

/// That there is somewhere to listen, and that nobody from elsewhere comes in without a password unless told so.
fn listening(values: &Values, problems: &mut Vec<Problem>) {
    let found = |name: &str| values.found(&format!("channel.embedded.{name}"));
    let (Some(listen), Some(socket)) = (found("listen"), found("unix_socket")) else { return };
    let (Some(password), Some(file)) = (found("password"), found("password_file")) else { return };
    let Some(addresses) = values.get::<Vec<SocketAddr>>("channel.embedded.listen") else { return };
    if addresses.is_empty() && socket.is_unset() {
        let sentence = "nowhere to listen; expected an address, or channel.embedded.unix_socket too";
        problems.push(about(listen, sentence.to_owned()));
    }
    if let Some((first, second)) = one_address_twice(&addresses) {
        let sentence = if first == second {
            format!("{second} stands there twice; expected each address once")
        } else {
            format!("{second} is one of the addresses of {first} already; expected only one of the two")
        };
        problems.push(about(listen, sentence));
    }
    if !password.is_unset() && !file.is_unset() {
        problems.push(about(file, format!("not together with {}; expected one of the two", described(password, file))));
    }
    let open = password.is_unset() && file.is_unset() && values.get::<bool>("channel.embedded.allow_remote") == Some(false);
    if let Some(remote) = open_to_others(&addresses).filter(|_| open) {
        let sentence = format!(
            "other machines could push to {remote} without a password; expected channel.embedded.password_file too, an address of this \
             machine alone such as 127.0.0.1:{}, or channel.embedded.allow_remote = true",
            remote.port()
        );
        problems.push(about(listen, sentence));
    }
}

/// That the socket does not take the place of a file of the queue.
fn socket_at_the_queue(values: &Values, problems: &mut Vec<Problem>) {
    let (Some(socket), Some(queue)) = (values.found("channel.embedded.unix_socket"), values.found("channel.embedded.path"))
    else {
        return;
    };
    let (Some(at), Some(path)) = (&socket.text, &queue.text) else { return };
    if at.strip_prefix(path.as_str()).is_some_and(|rest| ["", "-wal", "-shm", "-lock"].contains(&rest)) {
        problems.push(about(socket, format!("expected another file than those of {}", described(queue, socket))));
    }
}

/// Two addresses of which the second cannot be had beside the first.
fn one_address_twice(addresses: &[SocketAddr]) -> Option<(SocketAddr, SocketAddr)> {
    let covers = |one: &SocketAddr, other: &SocketAddr| {
        let every = one.ip().is_unspecified() && one.is_ipv4() == other.is_ipv4();
        // The system finds a port for 0, another one each time.
        one.port() != 0 && one.port() == other.port() && (every || one.ip() == other.ip())
    };
    addresses.iter().enumerate().find_map(|(place, second)| {
        let first = addresses.iter().take(place).find(|first| covers(first, second) || covers(second, first))?;
        // Every address is said to be what covers the other.
        Some(if covers(first, second) { (*first, *second) } else { (*second, *first) })
    })
}

fn influxdb_login(values: &Values, problems: &mut Vec<Problem>) {
    let found = |name: &str| values.found(&format!("publisher.influxdb.{name}"));
    let (Some(username), Some(password), Some(file)) = (found("username"), found("password"), found("password_file")) else {
        return;
    };
    if !password.is_unset() && !file.is_unset() {
        problems.push(about(file, format!("not together with {}; expected one of the two", described(password, file))));
    }
    match (username.is_unset(), password.is_unset() && file.is_unset()) {
        (true, false) => {
            let given = if password.is_unset() { file } else { password };
            problems.push(about(given, "a password without a user; expected publisher.influxdb.username too".to_owned()));
        }
        (false, true) => {
            let sentence =
                "a user without a password; expected publisher.influxdb.password_file or publisher.influxdb.password too";
            problems.push(about(username, sentence.to_owned()));
        }
        _ => {}
    }
}

/// A problem with the value that holds for a key.
pub(super) fn about(found: &Found, sentence: String) -> Problem {
    let place = found.place.as_ref().map_or_else(|| "built-in default".to_owned(), ToString::to_string);
    Problem::at(place, sentence).key(found.key.path).value(found.shown())
}

/// A value as the other side of a contradiction, with where it stands unless that is said already.
fn described(found: &Found, blamed: &Found) -> String {
    let place = match &found.place {
        None => "by default".to_owned(),
        Some(place) => place.beside(blamed.place.as_ref()),
    };
    format!("{} = {} ({place})", found.key.path, found.shown())
}
