//! What the tests share.
//!
//! - `cluster`: a database of its own for each test, on one private Postgres per test run
//! - `server`: a server in this process over such a database, with a tenant and keys
//! - `client`: requests; every answer is held against `contract`, which is openapi.yaml
//! - `peer`: a sidecar's end of the link, reduced to frames
//! - `process`: the program itself as processes
//! - `relay`: a network that loses connections and answers
//! - `scratch`: temporary directories that the user of Postgres can enter
//! - `shop`: end users who subscribe, use, buy and read, under the sandbox clock
//! - `usage`: random histories of usage, and what the ledger says of them
//! - `wait`: poll a condition until a deadline
//! - `workload`: every kind of write, and plain sums of what must come of them

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod contract;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod shop;
pub(crate) mod usage;
pub(crate) mod wait;
pub(crate) mod workload;
