//! The server's integration tests: one binary, one module per subject.
//!
//! - `cases`: the shared cases of docs/cases over HTTP; `case_groups`: through the writer, in groups; the core's
//!   `case_file` reads them and `case_commands` puts them into commands
//! - `streams`: random histories through the writer, in groups; `histories` holds what is stored against each account
//!   alone, `reference` and `translated` are the core's random streams
//! - `coverage`: every operation of openapi.yaml is routed, guarded by its scope and answers as documented
//! - `lists`: page by page, everything once
//! - `refusals`, `keys`: what is not valid and who may not, and that nothing changed
//! - `places`: what is not valid is told where it stands
//! - `corrections`, `reservations`, `prices`: rules of the ledger that one request shows
//! - `entitlements`: all that an end user may do, and why
//! - `edges`: the ends of amounts and of time
//! - `idempotency`: the same request again is the same change
//! - `due`, `sandbox_clock`: what time does, written down by the worker and by a clock that is set
//! - `without_workers`: what readers are told while nobody writes down what time does
//! - `retention`: what of requests is kept for 30 days
//! - `isolation`: what SQL itself holds
//! - `subscriptions`, `scenarios`: plans over time, by the sandbox clock; `transitions`: every operation in every state
//! - `writer`, `two_servers`: concurrency, poison, dying connections, several servers
//! - `usage_list`, `usage_summary`: reading usage and the ledger
//! - `crash`: the server and Postgres killed at every point around a commit
//! - `faults`: failures of the database and of the network, injected at random
//! - `link`: the link to sidecars, frame by frame
//! - `commands`: the program as processes
//! - `plans`: how Postgres finds what statements ask for
//! - `verify`: the whole ledger held against its entries
//! - `past`: accounts as of earlier; `proof`: chains that somebody else verifies
//! - `postgres`: the embedded Postgres

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

#[path = "../../../core/tests/it/case_commands.rs"]
mod case_commands;
#[path = "../../../core/tests/it/case_file.rs"]
mod case_file;
mod case_groups;
mod cases;
mod commands;
mod corrections;
mod coverage;
#[cfg(debug_assertions)]
mod crash;
mod due;
mod edges;
mod entitlements;
mod faults;
mod histories;
mod idempotency;
mod isolation;
mod keys;
mod link;
mod lists;
mod past;
mod places;
mod plans;
mod postgres;
mod prices;
mod proof;
#[expect(dead_code, reason = "of the model only the streams are taken")]
mod reference;
mod refusals;
mod reservations;
mod retention;
mod sandbox_clock;
mod scenarios;
mod stale;
mod streams;
mod subscription_sdk;
mod subscriptions;
mod support;
mod transitions;
#[path = "../../../core/tests/it/translated.rs"]
mod translated;
mod two_servers;
mod usage_list;
mod usage_summary;
mod variants;
mod verify;
mod without_workers;
mod writer;
