//! The random streams of the reference model, as the tests of the core have them. The model itself stays there.

#[path = "../../../core/tests/it/reference/command.rs"]
mod command;
#[path = "../../../core/tests/it/reference/price.rs"]
mod price;
#[path = "../../../core/tests/it/reference/stream.rs"]
pub(crate) mod stream;

pub(crate) use command::{BlockKind, Code, Grant, Micros, OverCommit};
pub(crate) use price::{Feature, Policy, Price, Rule, Tier, Window};

const MAX_AMOUNT: i64 = (1 << 53) - 1;
pub(crate) const SECOND: Micros = 1_000_000;
pub(crate) const DAY: Micros = 86_400 * SECOND;
