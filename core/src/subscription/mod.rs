//! Subscriptions of an end user to variants of plans. Source: docs/subscriptions.md.
//!
//! What there is: [`state`] (a subscription), [`allowance`] (what it gives in the interval that runs), [`given`] (what
//! an end user is given only once), [`past`] (what was subscribed to before).
//!
//! What happens: [`machine`] is the one table of states and happenings. `occur` (time), `begin`, `period`, `template`,
//! `term`, `change`, `pause`, `cancel` and `end` carry it out over a [`Motion`](crate::ledger::motion), the same for the
//! ledger and for readers. [`order`] is what callers can ask, `act` checks it and asks it of the motion.

mod act;
pub mod allowance;
mod begin;
mod cancel;
mod change;
mod create;
mod end;
pub mod given;
pub mod machine;
mod occur;
pub mod order;
pub mod past;
mod pause;
mod period;
mod renew;
pub mod state;
mod template;
mod term;

pub(crate) use act::act;
pub(crate) use create::subscribe;
pub use state::{Subscription, SubscriptionStatus};
