//! The sidecar's tests, in one binary: its files under crashes, its local API without a server, and whole processes
//! with a real server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod api_guard;
mod damage;
mod data_dir;
mod embedded;
mod end_to_end;
mod kill_rounds;
mod offline;
mod outbox_crash;
mod outbox_store;
mod replica_store;
mod sandbox_story;
mod status;
mod strict;
mod support;
