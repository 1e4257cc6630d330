//! What the tests share.
//!
//! - `cluster`: a database of its own for each test, on one private Postgres per test run
//! - `scratch`: temporary directories that the user of Postgres can enter
//! - `wait`: poll a condition until a deadline

pub(crate) mod cluster;
pub(crate) mod scratch;
pub(crate) mod wait;
