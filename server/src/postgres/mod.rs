//! The embedded Postgres: a private server for whoever has not set `DATABASE_URL`.
//!
//! [`PrivatePostgres::start`] takes a directory and gives back a connection URL; it creates the cluster on first use,
//! keeps Postgres running until [`PrivatePostgres::stop`], and starts it again when it dies. Invariants: one server
//! process per directory (a lock file), Postgres listens on a Unix socket only, and a durable cluster never runs
//! without `fsync`. What operators see of it is in `docs/operations.md`.
//!
//! - `private`: the public type and the supervisor behind it
//! - `cluster`: bring a Postgres up: adopt the one a killed server left, or start one, and wait for its answer
//! - `postmaster`: one Postgres process: its end, its signals
//! - `process`: whether a process id still belongs to our Postgres
//! - `initdb`: create the cluster, once, all or nothing
//! - `settings`: the configuration of a private instance
//! - `place`: directories, the lock, the socket's path
//! - `os_user`: the operating-system user Postgres runs as
//! - `binaries`: find a Postgres installation of the right version

mod binaries;
mod cluster;
mod error;
mod initdb;
mod os_user;
mod place;
mod postmaster;
mod private;
mod process;
mod settings;

pub use error::Error;
pub use private::{Durability, Options, PrivatePostgres};
