//! How the agent is, over HTTP: for whoever starts it, for Prometheus, for a browser.
//!
//! | promise | kept by |
//! |---|---|
//! | one page tells how the agent is, made from a snapshot and nothing else | [`page`] |
//! | what Prometheus reads balances in each scrape, and has no label without bound | [`metrics`] |
//! | whoever follows what comes through gets as much as they take, and how much was left out | [`tap`] |
//! | the agent is seen from its start to its end; an address that is taken is said once, tried again, and ends nothing; a socket has its permissions before anybody can use it | [`server`], [`sockets`] |
//! | whoever is slow, silent or many keeps nobody else out for long, and takes a bounded amount of memory | [`connections`] |
//! | a page elsewhere can neither look nor act; beyond this machine nobody can without the password | [`access`] |
//! | dead letters are queued anew or deleted by those alone who have the token of this process, by POST | [`actions`] |
//! | a browser runs nothing, and shows nothing elsewhere, that does not come from here | [`answers`] |
//!
//! It holds nothing that the agent needs: the agent goes on without it, and without `[status] listen` and `unix_socket` it is not there
//! at all.

mod access;
mod actions;
mod answers;
mod connections;
mod metrics;
pub mod page;
mod server;
mod sockets;
mod tap;

pub(crate) use actions::{Act, Actions, Chosen, Done, Letter, Listed};
pub(crate) use server::{Early, Params, Web};
