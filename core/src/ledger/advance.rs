//! What time alone does to a wallet. Source: docs/ledger.md, "Amounts and time" (time is true at read).
//!
//! Every reader and every command calls [`advance`] first. At one instant: holds expire, then subscriptions move, then
//! what is over rolls over or ends, then blocks start and plans grant, then debt is settled once in burn order.
//!
//! What plans give by intervals shorter than a day is not due at any instant: whoever comes finds the interval that
//! runs ([`catch_up`]), and those that nobody saw are skipped. So an idle end user is never written.

use crate::catalogue::Catalogue;
use crate::ledger::block::HasLot;
use crate::ledger::motion::{Motion, Report};
use crate::ledger::step::Step;
use crate::ledger::wallet::Wallet;
use crate::time::Timestamp;

impl<L: HasLot> Wallet<L> {
    /// The next instant after the wallet's time at which time alone changes something.
    pub fn next_due(&self) -> Option<Timestamp> {
        let lots = self.lots.iter().map(HasLot::lot).filter(|lot| lot.remaining.is_positive());
        let lot_times = lots.flat_map(|lot| [Some(lot.effective_at), lot.expires_at.filter(|_| !lot.frozen)]).flatten();
        let subscriptions = self.subscriptions.iter().filter_map(|own| own.next_occurrence().map(|(at, _)| at));
        let holds = self.holds.iter().map(|hold| hold.expires_at);
        lot_times.chain(subscriptions).chain(holds).filter(|at| *at > self.time).min()
    }

    /// Whether a reader finds something else at `now` than what is there.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_due().is_some_and(|due| due <= now) || self.subscriptions.iter().any(|own| own.lags(now))
    }
}

/// Moves the wallet's time to `now` and reports each step, in order. Time never goes back: an earlier `now` changes
/// nothing.
pub fn advance<L: HasLot>(
    wallet: &mut Wallet<L>,
    catalogue: &Catalogue,
    now: Timestamp,
    mut report: impl FnMut(&mut Wallet<L>, Timestamp, Step),
) {
    pass_until(wallet, catalogue, now, &mut report);
    catch_up(wallet, catalogue, &mut report);
}

/// The same for a reader, who need not know how.
pub fn read_at<L: HasLot>(wallet: &mut Wallet<L>, catalogue: &Catalogue, now: Timestamp) {
    advance(wallet, catalogue, now, |_, _, _| {});
}

/// All instants up to `now`.
fn pass_until<L: HasLot>(wallet: &mut Wallet<L>, catalogue: &Catalogue, now: Timestamp, report: Report<'_, L>) {
    while let Some(at) = wallet.next_due().filter(|at| *at <= now) {
        pass(wallet, catalogue, at, report);
    }
    wallet.time = wallet.time.max(now);
}

/// What plans give by intervals shorter than a day, as of the wallet's time.
pub(super) fn catch_up<L: HasLot>(wallet: &mut Wallet<L>, catalogue: &Catalogue, report: Report<'_, L>) {
    let now = wallet.time;
    if wallet.subscriptions.iter().any(|own| own.lags(now)) {
        let mut motion = Motion::new(wallet, catalogue, report);
        motion.turn_what_lags();
        motion.finish();
    }
}

/// The next instant, which is `at`.
pub(super) fn pass<L: HasLot>(wallet: &mut Wallet<L>, catalogue: &Catalogue, at: Timestamp, report: Report<'_, L>) {
    wallet.time = at;
    let expired: Vec<_> = wallet.holds.extract_if(.., |hold| hold.expires_at <= at).collect();
    let mut motion = Motion::new(wallet, catalogue, report);
    motion.is_passing = true;
    let mut clawed_back = Vec::new();
    for hold in expired {
        clawed_back.extend(motion.wallet.give_back(&hold));
        motion.tell(Step::HoldExpired(hold));
    }
    motion.tell_clawed_back(clawed_back);
    motion.run_subscriptions();
    motion.end_what_is_over();
    motion.start_lots();
    motion.grant_and_settle();
}
