//! The variables of the environment by which other programs go through a proxy. Connections are made without one, and that is
//! said where it makes a difference.

use std::net::IpAddr;

use url::{Host, Url};

/// Which variable would send other programs through a proxy on their way to this URL.
pub(crate) fn ignored(url: &str, variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let url = Url::parse(url).ok()?;
    let ours: [&str; 2] = if url.scheme() == "https" { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
    let set = |name: &&str| variable(name).is_some_and(|value| !value.is_empty());
    let name = ours.into_iter().chain(["all_proxy", "ALL_PROXY"]).find(set)?;
    let but_not = ["no_proxy", "NO_PROXY"].into_iter().find_map(&variable).unwrap_or_default();
    let (host, address) = match url.host()? {
        Host::Domain(name) => (name.to_ascii_lowercase(), None),
        Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(address))),
        Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(address))),
    };
    let is_this_machine = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    let is_excepted = but_not.split([',', ' ']).any(|pattern| matches(pattern.trim(), &host, address));
    (!is_this_machine && !is_excepted).then_some(name)
}

/// Whether an entry of `no_proxy` is about this host: its name, a domain that it is in, its address or network, or everything.
fn matches(pattern: &str, host: &str, address: Option<IpAddr>) -> bool {
    if pattern == "*" {
        return true;
    }
    if let (Some((network, bits)), Some(address)) = (pattern.split_once('/'), address) {
        return is_in(address, network, bits).unwrap_or_default();
    }
    let pattern = pattern.trim_matches(['[', ']']).to_ascii_lowercase();
    let pattern = pattern.trim_start_matches('*').trim_start_matches('.');
    // A port behind a name.
    let name = if address.is_some() { pattern } else { pattern.split(':').next().unwrap_or_default() };
    match host.strip_suffix(name) {
        Some(before) if !name.is_empty() => before.is_empty() || (address.is_none() && before.ends_with('.')),
        _ => false,
    }
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> Option<bool> {
    let (number, network, width): (u128, u128, u32) = match (address, network.parse().ok()?) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (u32::from(address).into(), u32::from(network).into(), 32),
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.into(), network.into(), 128),
        _ => return None,
    };
    let others = width.checked_sub(bits.parse().ok()?)?;
    Some(others == 128 || number >> others == network >> others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_ignored_only_where_others_would_use_it() {
        for (url, variables, ignored_one) in [
            ("http://db.test:8086", &[("http_proxy", "http://p:3128")][..], Some("http_proxy")),
            ("http://db.test:8086", &[("HTTP_PROXY", "p:3128")], Some("HTTP_PROXY")),
            ("http://db.test:8086", &[("https_proxy", "p:3128")], None),
            ("https://db.test", &[("http_proxy", "p:3128")], None),
            ("https://db.test", &[("HTTPS_PROXY", "p:3128")], Some("HTTPS_PROXY")),
            ("https://db.test", &[("ALL_PROXY", "socks5://p")], Some("ALL_PROXY")),
            ("http://db.test", &[("http_proxy", "")], None),
            ("http://db.test", &[("http_proxy", "p"), ("no_proxy", "other.test, db.test")], None),
            ("http://a.db.test", &[("http_proxy", "p"), ("NO_PROXY", ".db.test")], None),
            ("http://a.db.test", &[("http_proxy", "p"), ("no_proxy", "*.db.test:8086")], None),
            ("http://adb.test", &[("http_proxy", "p"), ("no_proxy", "db.test")], Some("http_proxy")),
            ("http://db.test", &[("http_proxy", "p"), ("no_proxy", "")], Some("http_proxy")),
            ("http://db.test", &[("http_proxy", "p"), ("no_proxy", ",")], Some("http_proxy")),
            ("http://10.1.2.3", &[("http_proxy", "p"), ("no_proxy", "10.0.0.0/8")], None),
            ("http://11.1.2.3", &[("http_proxy", "p"), ("no_proxy", "10.0.0.0/8,db.test")], Some("http_proxy")),
            ("http://[fd00::1]", &[("http_proxy", "p"), ("no_proxy", "fd00::/16")], None),
            ("http://[fd00::1]", &[("http_proxy", "p"), ("no_proxy", "fd00::1")], None),
            ("http://127.0.0.1:8086", &[("http_proxy", "p")], None),
            ("http://[::1]:8086", &[("http_proxy", "p")], None),
            ("http://localhost:8086", &[("http_proxy", "p")], None),
        ] {
            let variable =
                |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
            assert_eq!(ignored(url, variable), ignored_one, "{url} {variables:?}");
        }
        let star = |name: &str| Some(if name == "no_proxy" { "*" } else { "p" }.to_owned());
        assert_eq!(ignored("http://db.test", star), None);
    }
}
