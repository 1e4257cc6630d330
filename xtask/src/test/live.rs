//! Steps that need a running server and sidecar.

use crate::stack::{Binaries, Stack};
use crate::{demo, wasm};

/// The npm package in each runtime, against a server. In the sandbox, whose clock is tested too.
#[tokio::main]
pub(crate) async fn wasm() -> anyhow::Result<()> {
    let tarball = wasm::build()?;
    let stack = Stack::start(&Binaries::dev()?).await?;
    let result = wasm::test(&tarball, &stack.server.http, &stack.server.sandbox_key);
    // The first error is the one worth reading.
    result.and(stack.stop().await)
}

/// The demo on the programs of the tests: both quick starts and a REST call through a sidecar, and the ledger's word.
pub(crate) fn demo() -> anyhow::Result<()> {
    demo::run_once(&Binaries::dev()?)
}
