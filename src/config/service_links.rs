//! Variables of the environment that Kubernetes and Docker set for any service whose name begins with kadabra, and that so look
//! as if they were the configuration's.

use std::ffi::OsStr;

use super::schema::PREFIX;

/// Whether Kubernetes sets a variable like this for a Service (`KADABRA_SERVICE_HOST`, `KADABRA_AGENT_PORT_6379_TCP_ADDR`), or
/// Docker for a link (`KADABRA_NAME`, `KADABRA_ENV_PATH`). Sources: Kubernetes' "Discovering services", Docker's "Legacy
/// container links".
///
/// Of a name that may well be meant for the agent, such as `KADABRA_AGENT_NAME`, the value decides.
pub(super) fn is_service_link(name: &str, value: &OsStr) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    // After the rest of the service's name, if its name is longer than kadabra.
    let ends = |suffix: &str| rest.strip_suffix(suffix).is_some_and(|service| service.is_empty() || service.ends_with('_'));
    let after = |middle: &str| {
        let at = if rest.starts_with(middle) { Some(0) } else { rest.find(&format!("_{middle}")).map(|at| at + 1) };
        at.and_then(|at| rest.get(at + middle.len()..))
    };
    let value = value.to_string_lossy();
    ends("SERVICE_HOST")
        || after("SERVICE_PORT").is_some_and(|port| port.is_empty() || port.starts_with('_'))
        || (ends("PORT") && value.contains("://"))
        || after("PORT_").is_some_and(is_port_and_protocol)
        || (ends("NAME") && value.starts_with('/') && value.matches('/').count() >= 2)
        || after("ENV_").is_some_and(|variable| !variable.is_empty())
}

/// `6379_TCP`, and a detail of it: `6379_TCP_ADDR`.
fn is_port_and_protocol(text: &str) -> bool {
    let mut parts = text.splitn(3, '_');
    let port = parts.next().is_some_and(|port| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()));
    let protocol = parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"));
    let detail = parts
        .next()
        .is_none_or(|detail| matches!(detail, "ADDR" | "PORT" | "PROTO" | "START" | "END" | "PORT_START" | "PORT_END"));
    port && protocol && detail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::keys;

    fn is_link(name: &str, value: &str) -> bool {
        is_service_link(name, OsStr::new(value))
    }

    #[test]
    fn what_is_set_for_a_service_is_known_by_its_pattern() {
        for service in ["", "AGENT_", "METRICS_2_", "LOG_"] {
            for (name, value) in [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "6379"),
                ("SERVICE_PORT_REDIS", "6379"),
                ("PORT", "tcp://10.0.0.1:6379"),
                ("PORT_6379_TCP", "tcp://10.0.0.1:6379"),
                ("PORT_6379_TCP_PROTO", "tcp"),
                ("PORT_6379_TCP_PORT", "6379"),
                ("PORT_6379_TCP_ADDR", "10.0.0.1"),
                ("PORT_53_UDP_ADDR", "10.0.0.1"),
                ("PORT_9_SCTP", "sctp://10.0.0.1:9"),
                ("PORT_6379_TCP_PORT_END", "6380"),
                ("NAME", "/web/kadabra"),
                ("ENV_PATH", "/bin"),
                ("ENV_KADABRA_LOG__LEVEL", "info"),
                ("ENV_lower", ""),
            ] {
                assert!(is_link(&format!("KADABRA_{service}{name}"), value), "KADABRA_{service}{name}={value}");
            }
        }
    }

    #[test]
    fn what_somebody_has_mistyped_is_not() {
        for (name, value) in [
            ("KADABRA_PORT", "6379"),
            ("KADABRA_NAME", "web-1"),
            ("KADABRA_AGENT_NAME", "web-1"),
            ("KADABRA_AGENT_NAME", "/web-1"),
            ("KADABRA_SERVICE", "x"),
            ("KADABRA_SERVICE_PORTS", "1"),
            ("KADABRA_MYSERVICE_HOSTS", "x"),
            ("KADABRA_PORT_REDIS", "6379"),
            ("KADABRA_PORT_6379", "tcp://10.0.0.1:6379"),
            ("KADABRA_PORT_6379_TCP_NAME", "x"),
            ("KADABRA_PUBLISHER_ENV", "x"),
            ("KADABRA_LOG_LEVEL", "info"),
        ] {
            assert!(!is_link(name, value), "{name}={value}");
        }
        for key in keys() {
            assert!(!is_link(&key.variable(), "tcp:///a/b"), "{}", key.variable());
        }
    }
}
