//! The proxy that a server is reached through: the key says so, or else the variables of the environment that other programs go by.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use ::url::{Host, Url};
use percent_encoding::percent_decode_str;

use super::error::Problem;
use super::origin::Origin;
use super::schema::Key;
use super::setting::Setting as _;
use super::values::Values;
use super::{Influxdb, Secret, Victoriametrics, url};

/// The variables that name one for https, for http, and for both, the first that is set before the others.
const FOR_HTTPS: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const FOR_HTTP: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const FOR_ALL: [&str; 2] = ["all_proxy", "ALL_PROXY"];

/// A proxy over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Whether it is spoken to by TLS itself.
    pub(crate) encrypted: bool,
    /// A name or an address, an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// A user and a password, with a colon between them.
    pub(crate) login: Option<Secret>,
    /// The key or the variable that says so.
    pub(crate) named_by: &'static str,
}

impl Proxy {
    /// Its URL without the login.
    pub(crate) fn url(&self) -> String {
        let Self { encrypted, host, port, .. } = self;
        format!("{}://{host}:{port}", if *encrypted { "https" } else { "http" })
    }

    /// The proxy that holds for a key.
    pub(super) fn of(text: &str, key: &'static Key, origin: Option<&Origin>) -> Option<Self> {
        let variable = origin.and_then(Origin::as_variable).unwrap_or_default();
        let variables = [FOR_HTTPS, FOR_HTTP, FOR_ALL];
        let named_by = variables.as_flattened().iter().find(|name| **name == variable).copied().unwrap_or(key.path);
        parse(text).ok().map(|proxy| Self { named_by, ..proxy })
    }
}

/// Its URL without the login, and what names it.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.url(), self.named_by)
    }
}

/// The proxy of a URL, which curl takes without http:// too. The error is a sentence.
pub(super) fn parse(text: &str) -> Result<Proxy, String> {
    const EXPECTED: &str = "expected a URL such as http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128";
    let url = Url::parse(&with_scheme(text)).map_err(|why| format!("{EXPECTED}: {why}"))?;
    let encrypted = match url.scheme() {
        "http" => false,
        "https" => true,
        other if other.starts_with("socks") => {
            return Err(format!("expected a proxy over HTTP, which begins with http:// or https://; {other} is not spoken"));
        }
        _ => return Err(EXPECTED.to_owned()),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?.to_owned();
    if url.path().len() > 1 || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{EXPECTED}, without a path"));
    }
    let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| format!("{EXPECTED}, its login UTF-8 text"));
    let (user, password) = (decoded(url.username())?, decoded(url.password().unwrap_or_default())?);
    if user.contains(':') {
        return Err(format!("{EXPECTED}, without a colon in the user's name"));
    }
    let login = (!user.is_empty() || !password.is_empty()).then(|| Secret::new([&*user, ":", &*password].concat()));
    let port = url.port_or_known_default().unwrap_or_default();
    Ok(Proxy { encrypted, host, port, login, named_by: "" })
}

/// A proxy's URL that may be seen.
pub(super) fn shown(text: &str) -> String {
    if text.is_empty() { String::new() } else { url::shown(&with_scheme(text)) }
}

fn with_scheme(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { ["http://", text].concat() }
}

/// Where the key of a publisher's proxy is unset, has that hold which the environment says.
pub(super) fn choose(values: &mut Values, environment: &[(OsString, OsString)], problems: &mut Vec<Problem>) {
    for (key, url) in [(Influxdb::proxy, Influxdb::url), (Victoriametrics::proxy, Victoriametrics::url)] {
        choose_for(key, url, values, environment, problems);
    }
}

fn choose_for(
    key: &'static Key,
    url: &'static Key,
    values: &mut Values,
    environment: &[(OsString, OsString)],
    problems: &mut Vec<Problem>,
) {
    if !values.uses(key.section()) || !values.found(key).is_unset() {
        return;
    }
    let Some(url) = String::of(values, url) else { return };
    let variable = |name: &str| {
        let (_, value) = environment.iter().find(|(other, _)| other == name)?;
        Some(value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
    };
    let Some((name, text)) = of_environment(&url, variable) else { return };
    match key.value_type.check(&text) {
        Ok(_) => values.set(key, text, Origin::variable(name)),
        Err(sentence) => {
            let besides = format!("{sentence}; {key} = \"\" is none, whatever the environment says");
            let problem = Problem::at(name, besides).key(key.path).value(key.value_type.shown(&text));
            // Of several publishers each has it.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
}

/// The variable that sends programs through a proxy on their way to this URL, and its value. As with curl the names may be in small or in
/// capital letters. This machine is reached without one, as from Go. Where a request of CGI is answered, which its client can give
/// a header `Proxy`, HTTP_PROXY is that header.
fn of_environment(url: &str, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let url = Url::parse(url).ok()?;
    let ours = if url.scheme() == "https" { FOR_HTTPS } else { FOR_HTTP };
    let in_cgi = variable("REQUEST_METHOD").is_some();
    let names = ours.into_iter().chain(FOR_ALL).filter(|name| !(in_cgi && *name == "HTTP_PROXY"));
    let chosen = names.filter_map(|name| Some((name, variable(name)?))).next()?;
    let but_not = ["no_proxy", "NO_PROXY"].into_iter().find_map(&variable).unwrap_or_default();
    let (host, address) = match url.host()? {
        Host::Domain(name) => (name.to_ascii_lowercase(), None),
        Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(address))),
        Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(address))),
    };
    let is_this_machine = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    let port = url.port_or_known_default().unwrap_or_default();
    let is_excepted = but_not.split([',', ' ']).any(|pattern| matches(pattern.trim(), &host, address, port));
    (!is_this_machine && !is_excepted).then_some(chosen)
}

/// Whether an entry of `no_proxy` is about this host: its name, a domain that it is in, its address or network, or everything.
fn matches(pattern: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if pattern == "*" {
        return true;
    }
    if let (Some((network, bits)), Some(address)) = (pattern.split_once('/'), address) {
        return is_in(address, network, bits).unwrap_or_default();
    }
    let pattern = pattern.trim_matches(['[', ']']).to_ascii_lowercase();
    let pattern = pattern.trim_start_matches('*').trim_start_matches('.');
    // A port behind a name.
    let (name, its_port) = match pattern.split_once(':') {
        Some((name, its_port)) if address.is_none() => (name, Some(its_port)),
        _ => (pattern, None),
    };
    if its_port.is_some_and(|its_port| its_port.parse() != Ok(port)) {
        return false;
    }
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
    use super::super::Publisher;
    use super::super::source::{Content, SourceValue};
    use super::super::values::Host as ThisHost;
    use super::*;

    #[test]
    fn the_environment_names_a_proxy_as_it_does_to_others() {
        for (url, variables, named) in [
            ("http://db.test:8086", &[("http_proxy", "http://p:3128")][..], Some("http_proxy")),
            ("http://db.test:8086", &[("HTTP_PROXY", "p:3128")], Some("HTTP_PROXY")),
            ("http://db.test:8086", &[("https_proxy", "p:3128")], None),
            ("https://db.test", &[("http_proxy", "p:3128")], None),
            ("https://db.test", &[("HTTPS_PROXY", "p:3128")], Some("HTTPS_PROXY")),
            ("https://db.test", &[("ALL_PROXY", "p")], Some("ALL_PROXY")),
            ("http://db.test", &[("HTTP_PROXY", "evil"), ("REQUEST_METHOD", "GET")], None),
            ("http://db.test", &[("http_proxy", "p"), ("REQUEST_METHOD", "GET")], Some("http_proxy")),
            ("http://db.test", &[("http_proxy", "p"), ("HTTP_PROXY", "other")], Some("http_proxy")),
            ("http://db.test", &[("http_proxy", "p"), ("no_proxy", "*")], None),
            ("http://db.test:8086", &[("http_proxy", "p"), ("no_proxy", "db.test:80")], Some("http_proxy")),
            ("http://db.test", &[("http_proxy", "")], None),
            ("http://db.test", &[("http_proxy", "p"), ("no_proxy", "other.test, db.test")], None),
            ("http://a.db.test", &[("http_proxy", "p"), ("NO_PROXY", ".db.test")], None),
            ("http://a.db.test", &[("http_proxy", "p"), ("no_proxy", "*.db.test:80")], None),
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
            let environment: Vec<_> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let mut values = Values::merge(&ThisHost::default(), &[&[influxdb(), at(url)]]).unwrap();
            let mut problems = Vec::new();
            choose(&mut values, &environment, &mut problems);
            let found = values.found(Influxdb::proxy);
            assert_eq!(found.origin.as_ref().and_then(Origin::as_variable), named, "{url} {variables:?} {problems:?}");
        }
    }

    fn influxdb() -> SourceValue {
        let content = Content::Value("influxdb".to_owned());
        SourceValue { key: Publisher::kind, content, origin: Origin::variable("test"), publisher: None }
    }

    fn at(url: &str) -> SourceValue {
        SourceValue {
            key: Influxdb::url,
            content: Content::Value(url.to_owned()),
            origin: Origin::variable("test"),
            publisher: None,
        }
    }

    #[test]
    fn a_proxy_is_a_url_as_curl_takes_it() {
        for (text, url, login) in [
            ("http://p:3128", "http://p:3128", None),
            ("p:3128", "http://p:3128", None),
            ("https://[fd00::1]:8443/", "https://[fd00::1]:8443", None),
            ("http://p", "http://p:80", None),
            ("http://me:hunter2@p:1", "http://p:1", Some("me:hunter2")),
            ("me:hunter2@p:1", "http://p:1", Some("me:hunter2")),
            ("http://me:a%40b%3ac@p:1", "http://p:1", Some("me:a@b:c")),
            ("http://me@p:1", "http://p:1", Some("me:")),
        ] {
            let proxy = parse(text).unwrap();
            assert_eq!((proxy.url().as_str(), proxy.login.as_ref().map(Secret::expose)), (url, login), "{text}");
            assert!(!shown(text).contains("hunter2") && !format!("{proxy:?}").contains("hunter2"), "{}", shown(text));
        }
        for text in [
            "socks5://hunter2@p",
            "ftp://p",
            "http://",
            "http://p/path",
            "http://p?hunter2",
            "http://p:x",
            "a b",
            "http://a%3ab:hunter2@p",
        ] {
            let why = parse(text).unwrap_err();
            assert!(!why.contains("hunter2") && !shown(text).contains("hunter2"), "{text}: {why}");
        }
    }
}
