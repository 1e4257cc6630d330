//! What time alone does to a wallet. Source: docs/ledger.md, "Amounts and time" (time is true at read).
//!
//! Every reader and every command calls [`advance`] first. At one instant: subscriptions end, then blocks end,
//! then blocks start, then debt is settled once in burn order.

use crate::credits::Credits;
use crate::ledger::block::HasLot;
use crate::ledger::wallet::{Settlement, Wallet};
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// What happened at one instant. Indexes are into the wallet's lots, which time never reorders.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// When.
    pub at: Timestamp,
    /// Subscriptions that ended, with their last state.
    pub ended: Vec<Subscription>,
    /// Lots that ended, and what they lost by it.
    pub expired: Vec<(usize, Credits)>,
    /// Lots that began, and what they add to the balance.
    pub started: Vec<(usize, Credits)>,
    /// Debts paid by what began.
    pub settled: Vec<Settlement>,
}

impl<L: HasLot> Wallet<L> {
    /// The next instant after the wallet's time at which time alone changes something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lots = self.lots.iter().map(HasLot::lot).filter(|lot| lot.remaining.is_positive());
        let lot_times = lots.flat_map(|lot| [Some(lot.effective_at), lot.expires_at]).flatten();
        let ends = self.subscriptions.iter().map(|subscription| subscription.current_period.end);
        lot_times.chain(ends).filter(|at| *at > self.time).min()
    }
}

/// Moves the wallet's time to `now` and reports each instant at which something happened, in order. Time never
/// goes back: an earlier `now` changes nothing.
pub fn advance<L: HasLot>(wallet: &mut Wallet<L>, now: Timestamp, mut report: impl FnMut(&mut Wallet<L>, Instant)) {
    while let Some(at) = wallet.next_due().filter(|at| *at <= now) {
        wallet.time = at;
        let instant = pass(wallet, at);
        report(wallet, instant);
    }
    wallet.time = wallet.time.max(now);
}

fn pass<L: HasLot>(wallet: &mut Wallet<L>, at: Timestamp) -> Instant {
    let mut instant = Instant { at, ..Instant::default() };
    wallet.subscriptions.retain(|subscription| {
        let is_over = subscription.is_over(at);
        if is_over {
            instant.ended.push(subscription.clone().at(at));
        }
        !is_over
    });
    for (index, lot) in wallet.lots.iter_mut().enumerate() {
        let lot = lot.lot_mut();
        if lot.expires_at == Some(at) && lot.free().is_positive() {
            instant.expired.push((index, lot.free()));
            lot.remaining = lot.held;
        } else if lot.effective_at == at && lot.remaining.is_positive() {
            instant.started.push((index, lot.remaining));
        }
    }
    instant.settled = wallet.settle();
    instant
}
