//! What time alone does to a wallet. Source: docs/ledger.md, "Amounts and time" (time is true at read).
//!
//! Every reader and every command calls [`advance`] first. At one instant: holds expire, then subscriptions end, then
//! blocks end, then blocks start, then debt is settled once in burn order.

use crate::credits::Credits;
use crate::ledger::block::HasLot;
use crate::ledger::hold::Hold;
use crate::ledger::wallet::{Leaving, Settlement, Wallet};
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// What happened at one instant. Indexes are into the wallet's lots, which time never reorders.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Instant {
    /// When.
    pub at: Timestamp,
    /// Holds that expired, with what they gave back.
    pub holds: Vec<Hold>,
    /// Subscriptions that ended, with their last state.
    pub ended: Vec<Subscription>,
    /// What came back to refunded lots and paid their claw-back.
    pub clawed_back: Vec<Settlement>,
    /// What left lots that are over.
    pub leaving: Vec<Leaving>,
    /// Lots that began, and what they add to the balance.
    pub started: Vec<(usize, Credits)>,
    /// Debts paid by what began or came back.
    pub settled: Vec<Settlement>,
}

impl<L: HasLot> Wallet<L> {
    /// The next instant after the wallet's time at which time alone changes something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lots = self.lots.iter().map(HasLot::lot).filter(|lot| lot.remaining.is_positive());
        let lot_times = lots.flat_map(|lot| [Some(lot.effective_at), lot.expires_at]).flatten();
        let ends = self.subscriptions.iter().map(|subscription| subscription.current_period.end);
        let holds = self.holds.iter().map(|hold| hold.expires_at);
        lot_times.chain(ends).chain(holds).filter(|at| *at > self.time).min()
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
    instant.holds = wallet.holds.extract_if(.., |hold| hold.expires_at <= at).collect();
    for hold in &instant.holds {
        instant.clawed_back.extend(wallet.give_back(hold));
    }
    let is_over = |subscription: &mut Subscription| subscription.is_over(at);
    instant.ended = wallet.subscriptions.extract_if(.., is_over).map(|subscription| subscription.at(at)).collect();
    instant.leaving = wallet.sweep();
    let lots = wallet.lots.iter().map(HasLot::lot).enumerate();
    let starting = lots.filter(|(_, lot)| lot.effective_at == at && lot.remaining.is_positive());
    instant.started = starting.map(|(index, lot)| (index, lot.remaining)).collect();
    instant.settled = wallet.settle();
    instant
}
