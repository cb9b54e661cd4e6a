//! The real proxy forwards what it is asked to, and refuses whom it does not know.

use ureq::Proxy;

use crate::support::{forward_proxy::ForwardProxy, influxd::Influxd};

/// The status of a ping through a proxy, or what went wrong.
fn ping(proxy: &str, url: &str) -> Result<u16, String> {
    let agent = ureq::Agent::config_builder().proxy(Some(Proxy::new(proxy).unwrap())).http_status_as_error(false).build();
    let answer = agent.new_agent().get(format!("{url}/ping")).call();
    answer.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string())
}

#[test]
fn a_request_goes_through_the_proxy_while_it_runs() {
    let (influxd, mut proxy) = (Influxd::start(), ForwardProxy::start());
    assert_eq!(ping(&proxy.url(), &influxd.url()), Ok(204));
    assert_eq!(proxy.requests().len(), 1, "{:?}", proxy.requests());
    proxy.stop();
    assert!(ping(&proxy.url(), &influxd.url()).is_err());
    proxy.start_again();
    assert_eq!(ping(&proxy.url(), &influxd.url()), Ok(204));
}

#[test]
fn a_proxy_with_a_login_lets_only_that_through() {
    let (influxd, proxy) = (Influxd::start(), ForwardProxy::with_login("me", "secret"));
    let with_login = proxy.url().replace("//", "//me:secret@");
    assert_eq!(ping(&with_login, &influxd.url()), Ok(204));
    assert_ne!(ping(&proxy.url(), &influxd.url()), Ok(204));
}
