//! A naive ledger of one account, written from docs/ledger.md alone and sharing no code with the one under test.
//!
//! It keeps everything that ever happened and computes every figure from that; it is meant to be compared line by line
//! with the page, not to be fast. `Player` drives it with the relative operations of `stream`; whoever tests another
//! ledger sends it the same commands and compares `Figures` and `Entry`s after each.
//!
//! - `command`, `price`: what can be asked, and what features cost
//! - `model`: the account; `entry`, `figures`: what is told of it
//! - `time`, `settle`: what happens by itself; `grant`, `correct`, `charge`, `usage`, `void`, `hold`: what commands do
//! - `invariants`: what must hold after each
//! - `stream`, `player`: random operations, and their turning into commands
//! - `cases`, `story`, `table`, `price_table`, `random`: tests of the model itself

mod cases;
mod charge;
pub(crate) mod command;
mod correct;
mod counter;
pub(crate) mod entry;
pub(crate) mod figures;
mod grant;
mod hold;
mod invariants;
pub(crate) mod model;
pub(crate) mod player;
pub(crate) mod price;
mod price_table;
mod random;
mod settle;
mod story;
pub(crate) mod stream;
mod table;
mod time;
mod usage;
mod void;

pub(crate) use command::{Answer, BlockId, BlockKind, Code, Command, Commit, Grant, HoldId, Micros, OverCommit, Use};
pub(crate) use entry::EntryKind;
pub(crate) use figures::Figures;
pub(crate) use invariants::{invariants, refused_left_nothing};
pub(crate) use model::Model;
pub(crate) use player::{Played, Player};
pub(crate) use price::{Feature, Policy, Price, Properties, Rule, Tier, Window};
pub(crate) use stream::Stream;

/// The greatest amount, 2^53 - 1.
pub(crate) const MAX_AMOUNT: i64 = (1 << 53) - 1;

const SECOND: Micros = 1_000_000;
const DAY: Micros = 86_400 * SECOND;
