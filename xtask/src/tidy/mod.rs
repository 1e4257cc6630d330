//! `cargo xtask tidy`: rules of this repository that no compiler and no linter holds.
//!
//! - `rules`: who may name whom, and what no file may say, as a table
//! - `files`: length, headers, paths of somebody's machine
//! - `contract`: every operation of openapi.yaml is served and tested
//! - `source`: Rust as tokens, so that comments and strings do not count
//! - `tree`: the files of the repository
//!
//! Each finding is one line: the place, what is wrong, what to do. A unit test runs them all.

mod check;
mod contract;
mod files;
mod rules;
mod source;
mod tree;

pub(crate) use check::run;
