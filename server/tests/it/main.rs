//! The server's integration tests: one binary, one module per subject.
//!
//! - `cases`: the shared cases of docs/cases, which the core's `case_file` reads
//! - `coverage`: every operation of openapi.yaml is routed, guarded by its scope and answers as documented
//! - `link`: the link to sidecars, frame by frame
//! - `postgres`: the embedded Postgres

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

#[path = "../../../core/tests/it/case_file.rs"]
mod case_file;
mod cases;
mod commands;
mod coverage;
mod idempotency;
mod isolation;
mod keys;
mod link;
mod postgres;
mod refusals;
mod support;
mod two_servers;
mod writer;
