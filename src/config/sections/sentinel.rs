//! `[channel.redis.sentinel]`

use super::redis::USER;
use crate::config::{
    Secret, Tls,
    cross_checks::CrossChecks,
    schema::Fallback::{Is, Unset},
    tls,
    value_type::ValueType,
};

section! {
    /// How the Sentinels are spoken to, used when channel.redis.mode is "sentinel". What the primary wants is in [channel.redis].
    "channel.redis.sentinel" pub struct Sentinel {
        /// The user at the Sentinels, if not the default one.
        user: Option<String> = Unset("kadabra"), USER;
        /// A file that holds nothing but the Sentinels' password; one newline at its end is not part of it.
        password as "password_file": Option<Secret> = Unset("/etc/kadabra/sentinel-password"), ValueType::PasswordFile;
        /// Whether the Sentinels are spoken to by TLS.
        use_tls: bool = Is("false"), ValueType::Flag;
        /// Certificates, in PEM, that are trusted in place of the system's: those of authorities, or the Sentinels' own.
        tls as "ca_file": Tls = Unset("/etc/kadabra/redis-ca.pem"), ValueType::PemFile;
        /// The certificate, in PEM, that is shown to a Sentinel that wants one of its clients. Together with client_key.
        client_certificate = Unset("/etc/kadabra/redis-client.pem"), ValueType::PemFile;
        /// The key of client_certificate, in PEM, without a passphrase.
        client_key = Unset("/etc/kadabra/redis-client.key"), ValueType::PemFile;
        /// What a Sentinel's certificate must be for, when that is not its host in channel.redis.nodes.
        server_name = Unset("sentinel.example.com"), tls::SERVER_NAME;
    }
    checks cross_check;
    on reload Restart;
}

fn cross_check(checks: &mut CrossChecks<'_>) {
    checks.user_with_password(Sentinel::user, Sentinel::password);
    TLS.check(checks, checks.get(Sentinel::use_tls), Sentinel::use_tls, "true");
}

const TLS: tls::Keys = tls::Keys {
    ca_file: Sentinel::tls,
    client_certificate: Sentinel::client_certificate,
    client_key: Sentinel::client_key,
    server_name: Sentinel::server_name,
};
