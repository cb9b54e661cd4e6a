//! Happy Eyeballs (RFC 8305): the addresses of a host are tried one after the other without waiting for the end of those
//! before, the families in turn, and the first that connects wins.

use std::{future::Future, net::SocketAddr, pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};

use super::failure::Why;

/// The Connection Attempt Delay of RFC 8305, section 5.
const DELAY: Duration = Duration::from_millis(250);

/// Connects to the first address that can be connected to. An address that fails leaves its place to the next at once. All
/// of them are tried before the deadline, however short the time is.
///
/// # Errors
/// Why, for each address.
pub(super) async fn first<S, F>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, Vec<(SocketAddr, Why)>>
where
    F: Future<Output = Result<S, Why>>,
{
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let within = deadline.saturating_duration_since(Instant::now());
    let delay = DELAY.min(within / count);
    let mut late = pin!(sleep_until(deadline));
    let order = in_turn(addresses);
    let mut failed = Vec::new();
    let mut waiting = order.iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        if let Some(&address) = waiting.next() {
            let attempt = connect(address);
            attempts.push(async move { (address, attempt.await) });
        }
        if attempts.is_empty() {
            return Err(failed);
        }
        tokio::select! {
            Some((address, outcome)) = attempts.next() => match outcome {
                Ok(connected) => return Ok(connected),
                Err(why) => failed.push((address, why)),
            },
            () = &mut late => {
                let silent = order.iter().filter(|address| failed.iter().all(|(other, _)| other != *address));
                let silent: Vec<_> = silent.map(|&address| (address, Why::Late)).collect();
                failed.extend(silent);
                return Err(failed);
            }
            () = sleep(delay), if !waiting.as_slice().is_empty() => {}
        }
    }
}

/// The families in turn, beginning with that of the first, and within each the order as it was. Each address once.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == six_first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return order;
        }
        for address in pair.into_iter().flatten() {
            if !order.contains(&address) {
                order.push(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What an address does.
    #[derive(Clone, Copy)]
    enum Does {
        Connect(u64),
        Refuse(u64),
        Swallow,
    }

    /// Who won, or why each failed.
    type Outcome = Result<SocketAddr, Vec<(SocketAddr, Why)>>;

    /// Races these; says the outcome, when each was tried, and how long it took, in ms.
    fn raced(addresses: &[(&str, Does)], within: u64) -> (Outcome, Vec<(SocketAddr, u128)>, u128) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let begun = Instant::now();
            let tried = Mutex::new(Vec::new());
            let connect = |to: SocketAddr| {
                tried.lock().unwrap().push((to, begun.elapsed().as_millis()));
                let (_, does) = *addresses.iter().find(|(text, _)| address(text) == to).unwrap();
                async move {
                    match does {
                        Does::Connect(after) => {
                            sleep(Duration::from_millis(after)).await;
                            Ok(to)
                        }
                        Does::Refuse(after) => {
                            sleep(Duration::from_millis(after)).await;
                            Err(Why::Tcp(io::ErrorKind::ConnectionRefused.into()))
                        }
                        Does::Swallow => std::future::pending().await,
                    }
                }
            };
            let all = addresses.iter().map(|(text, _)| address(text)).collect();
            let outcome = first(all, begun + Duration::from_millis(within), connect).await;
            (outcome, tried.lock().unwrap().clone(), begun.elapsed().as_millis())
        })
    }

    #[test]
    fn an_address_that_swallows_packets_delays_the_next_by_its_share_only() {
        for (within, share) in [(5000, 250), (1000, 250), (300, 150), (40, 20)] {
            let (won, tried, took) = raced(&[("[::1]:1", Does::Swallow), ("127.0.0.1:1", Does::Connect(1))], within);
            assert_eq!(won.unwrap(), address("127.0.0.1:1"));
            assert_eq!(tried, [(address("[::1]:1"), 0), (address("127.0.0.1:1"), share)], "of {within} ms");
            assert_eq!(took, share + 1);
        }
    }

    #[test]
    fn an_address_that_refuses_leaves_its_place_at_once() {
        let (won, tried, took) =
            raced(&[("127.0.0.1:1", Does::Refuse(3)), ("127.0.0.2:1", Does::Refuse(4)), ("127.0.0.3:1", Does::Connect(5))], 5000);
        assert_eq!(won.unwrap(), address("127.0.0.3:1"));
        assert_eq!(tried.iter().map(|(_, at)| *at).collect::<Vec<_>>(), [0, 3, 7]);
        assert_eq!(took, 12);
    }

    #[test]
    fn a_slow_address_may_still_win() {
        let (won, tried, _) = raced(&[("127.0.0.1:1", Does::Connect(400)), ("127.0.0.2:1", Does::Connect(400))], 5000);
        assert_eq!(won.unwrap(), address("127.0.0.1:1"));
        assert_eq!(tried.len(), 2);
    }

    #[test]
    fn when_none_connects_each_says_why() {
        let (failed, _, took) =
            raced(&[("[::1]:1", Does::Swallow), ("127.0.0.1:1", Does::Refuse(1)), ("127.0.0.2:1", Does::Swallow)], 5000);
        let failed = failed.unwrap_err();
        assert_eq!(took, 5000);
        assert!(matches!(failed[0], (to, Why::Tcp(_)) if to == address("127.0.0.1:1")), "{failed:?}");
        assert!(matches!(failed[1], (to, Why::Late) if to == address("[::1]:1")), "{failed:?}");
        assert!(matches!(failed[2], (to, Why::Late) if to == address("127.0.0.2:1")), "{failed:?}");
        let (failed, _, took) = raced(&[("[::1]:1", Does::Refuse(1)), ("127.0.0.1:1", Does::Refuse(1))], 5000);
        assert_eq!((failed.unwrap_err().len(), took), (2, 2), "it is known before the deadline");
        assert!(raced(&[], 5000).0.unwrap_err().is_empty());
    }

    #[test]
    fn families_take_turns_and_nothing_is_tried_twice() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1", "[::1]:1", "10.0.0.2:1"].map(address).to_vec();
        assert_eq!(in_turn(all), ["[::1]:1", "10.0.0.1:1", "[::2]:1", "10.0.0.2:1", "[::3]:1"].map(address));
        let all = ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"].map(address).to_vec();
        assert_eq!(in_turn(all), ["10.0.0.1:1", "[::1]:1", "10.0.0.2:1"].map(address));
    }
}
