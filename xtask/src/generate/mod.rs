//! `cargo xtask generate`: openapi.yaml -> sdk-rust/src/generated.rs.
//!
//! - [`contract`]: reads the document.
//! - [`lint`]: the subset of OpenAPI that the generator understands, and our own rules; its messages say what to mend.
//! - [`prepare`]: the document as the client's generator sees it. The served contract stays as it is.
//! - [`client`]: progenitor and rustfmt.
//!
//! The generated file is committed; a test fails when it is stale.

mod client;
mod contract;
mod lint;
mod prepare;

pub(crate) use client::run;
