//! Every promise against real servers, real clients and real faults. One binary, a module a promise.

// What is forbidden on data from outside is fine here, in helper functions too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

#[path = "support/mod.rs"]
mod support;

#[path = "ansible.rs"]
mod ansible;
#[path = "backlog.rs"]
mod backlog;
#[path = "bounds.rs"]
mod bounds;
#[path = "channel_contract.rs"]
mod channel_contract;
#[path = "channel_embedded.rs"]
mod channel_embedded;
#[path = "channel_redis.rs"]
mod channel_redis;
#[path = "cli.rs"]
mod cli;
#[path = "configuration.rs"]
mod configuration;
#[path = "connections.rs"]
mod connections;
#[path = "containers.rs"]
mod containers;
#[path = "corpus.rs"]
mod corpus;
#[path = "dashboards.rs"]
mod dashboards;
#[path = "documentation.rs"]
mod documentation;
#[path = "drops.rs"]
mod drops;
#[path = "gateways.rs"]
mod gateways;
#[path = "guards.rs"]
mod guards;
#[path = "herd.rs"]
mod herd;
#[path = "import.rs"]
mod import;
#[path = "influxdb.rs"]
mod influxdb;
#[path = "influxdb23.rs"]
mod influxdb23;
#[path = "kill.rs"]
mod kill;
#[path = "lease_model.rs"]
mod lease_model;
#[path = "limits.rs"]
mod limits;
#[cfg(feature = "failpoints")]
#[path = "listener.rs"]
mod listener;
#[path = "logs.rs"]
mod logs;
#[path = "manual.rs"]
mod manual;
#[path = "outages.rs"]
mod outages;
#[path = "package.rs"]
mod package;
#[cfg(feature = "failpoints")]
#[path = "page.rs"]
mod page;
#[path = "panics.rs"]
mod panics;
#[path = "pressure.rs"]
mod pressure;
#[path = "publisher_contract.rs"]
mod publisher_contract;
#[path = "python_client.rs"]
mod python_client;
#[path = "redis_groups.rs"]
mod redis_groups;
#[path = "redis_versions.rs"]
mod redis_versions;
#[path = "reload.rs"]
mod reload;
#[path = "rust_client.rs"]
mod rust_client;
#[path = "send.rs"]
mod send;
#[path = "several.rs"]
mod several;
#[path = "several_agents.rs"]
mod several_agents;
#[path = "several_queues.rs"]
mod several_queues;
#[path = "shutdown.rs"]
mod shutdown;
#[path = "signals.rs"]
mod signals;
#[path = "stack.rs"]
mod stack;
#[path = "stand_ins.rs"]
mod stand_ins;
#[cfg(feature = "failpoints")]
#[path = "statsd.rs"]
mod statsd;
#[path = "status_actions.rs"]
mod status_actions;
#[path = "status_canary.rs"]
mod status_canary;
#[path = "status_commands.rs"]
mod status_commands;
#[path = "status_history.rs"]
mod status_history;
#[path = "status_http.rs"]
mod status_http;
#[path = "supervisord.rs"]
mod supervisord;
#[path = "systemd.rs"]
mod systemd;
#[path = "systemd_boot.rs"]
mod systemd_boot;
#[path = "systemd_unit.rs"]
mod systemd_unit;
#[path = "tidy.rs"]
mod tidy;
#[path = "trace.rs"]
mod trace;
#[path = "types.rs"]
mod types;
#[path = "unread_log.rs"]
mod unread_log;
#[path = "unwritable_log.rs"]
mod unwritable_log;
#[path = "victoriametrics.rs"]
mod victoriametrics;
