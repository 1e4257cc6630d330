//! The server's integration tests: one binary, one module per subject.

mod postgres;
mod support;
