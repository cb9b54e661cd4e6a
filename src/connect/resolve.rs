//! A name to its addresses, by the system's resolver.
//!
//! `getaddrinfo` cannot be interrupted and may take longer than anybody waits, so each lookup has a thread of its own that
//! nothing waits for at the end of the process, a runtime's end included. There is at most one a name.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// How long an answer that came after nobody waited for it any more is good for whoever asks next. Without it a resolver
/// that always takes longer than a connection may take would never be of any use.
const LATE_ANSWER_HOLDS: Duration = Duration::from_secs(60);

/// What the resolver said, and when.
type Answer = (Instant, Result<Vec<SocketAddr>, String>);

/// Lookups whose answers nobody has taken yet.
static LOOKUPS: Mutex<BTreeMap<String, watch::Receiver<Option<Answer>>>> = Mutex::new(BTreeMap::new());

/// The addresses of a host in the order in which the system prefers them (RFC 6724); of an address itself.
///
/// # Errors
/// In the resolver's words, or that there is no address.
pub(super) async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let mut lookup = lookup(host).map_err(|why| format!("cannot start a thread for the resolver: {why}"))?;
    let answer = match lookup.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone(),
        Err(_) => None,
    };
    lookups().remove(host);
    let (_, found) = answer.ok_or("the resolver ended without an answer")?;
    let mut found = found?;
    for address in &mut found {
        address.set_port(port);
    }
    if found.is_empty() { Err("its name has no address".to_owned()) } else { Ok(found) }
}

/// The lookup of this name that is under way, or a new one.
fn lookup(host: &str) -> io::Result<watch::Receiver<Option<Answer>>> {
    let mut lookups = lookups();
    if let Some(lookup) = lookups.get(host) {
        // Without an answer and a thread it would never have one.
        let open = lookup.borrow().as_ref().map_or(lookup.has_changed().is_ok(), |(at, _)| at.elapsed() < LATE_ANSWER_HOLDS);
        if open {
            return Ok(lookup.clone());
        }
    }
    let (answered, lookup) = watch::channel(None);
    let name = host.to_owned();
    thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect).map_err(|why| why.to_string());
        answered.send_replace(Some((Instant::now(), found)));
    })?;
    lookups.insert(host.to_owned(), lookup.clone());
    Ok(lookup)
}

fn lookups() -> MutexGuard<'static, BTreeMap<String, watch::Receiver<Option<Answer>>>> {
    LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
