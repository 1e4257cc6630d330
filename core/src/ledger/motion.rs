//! A [`Motion`]: a wallet while something happens to it at one instant, by time alone or by a command.
//!
//! Subscriptions move first; [`Motion::finish`] then does what follows from it, in the order of docs/ledger.md,
//! "Amounts and time": rollover, blocks end, grants, and debt is settled once. Each step is told to `report` as it is
//! done: the ledger writes it down, a reader ignores it. So both come to the same wallet.

use crate::catalogue::Catalogue;
use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, Ending, HasLot, Lot, Reschedule};
use crate::ledger::step::{NewLot, Rolled, Step};
use crate::ledger::wallet::{Settlement, Wallet};
use crate::subscription::past::{Subscribed, are_alike};
use crate::subscription::state::SubscriptionStatus;
use crate::time::Timestamp;

/// Credit to be granted, and the cap that may trim it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LotOrder {
    pub(crate) lot: Lot,
    pub(crate) accumulation_cap: Option<Credits>,
}

/// Who is told what happens: the wallet after it, the instant, and what it was.
pub(crate) type Report<'a, L> = &'a mut dyn FnMut(&mut Wallet<L>, Timestamp, Step);

pub(crate) struct Motion<'a, L> {
    pub(crate) wallet: &'a mut Wallet<L>,
    pub(crate) catalogue: &'a Catalogue,
    /// The wallet's time.
    pub(crate) at: Timestamp,
    /// Whether time has come to this instant, so that what ends at it has not ended yet.
    pub(crate) is_passing: bool,
    /// Since when what is subscribed to in the end has held: the instant; before it, where an import reaches back.
    pub(crate) since: Timestamp,
    /// Whether an amount was cut because it would leave the range of amounts.
    pub(crate) was_cut: bool,
    report: Report<'a, L>,
    orders: Vec<(SubscriptionId, Vec<LotOrder>)>,
    subscribed_before: Vec<Subscribed>,
}

impl<'a, L: HasLot> Motion<'a, L> {
    pub(crate) fn new(wallet: &'a mut Wallet<L>, catalogue: &'a Catalogue, report: Report<'a, L>) -> Self {
        let at = wallet.time;
        let subscribed_before = wallet.subscribed();
        let orders = Vec::new();
        Self { wallet, catalogue, at, is_passing: false, since: at, was_cut: false, report, orders, subscribed_before }
    }

    pub(crate) fn tell(&mut self, step: Step) {
        (self.report)(self.wallet, self.at, step);
    }

    /// Has a subscription give credit, once all that ends has ended.
    pub(crate) fn order(&mut self, subscription_id: SubscriptionId, lots: Vec<LotOrder>) {
        if lots.is_empty() {
            return;
        }
        match self.orders.iter_mut().find(|(id, _)| *id == subscription_id) {
            Some((_, orders)) => orders.extend(lots),
            None => self.orders.push((subscription_id, lots)),
        }
    }

    /// Moves the end of those of a subscription's lots that are not over and that `which` names. Also of those that are used
    /// up: something may come back to them.
    pub(crate) fn reschedule(&mut self, id: SubscriptionId, how: Reschedule, which: impl Fn(&Lot) -> bool) {
        let mut moved = Vec::new();
        for (index, lot) in self.wallet.lots.iter_mut().map(HasLot::lot_mut).enumerate() {
            if lot.is_of(id) && lot.ended.is_none() && which(lot) {
                lot.reschedule(how);
                moved.push(index);
            }
        }
        if !moved.is_empty() {
            self.tell(Step::Rescheduled { subscription_id: id, lots: moved, how });
            self.wallet.reorder();
        }
    }

    /// Ends those of a subscription's lots that are not over and that `which` names: nothing of them rolls.
    pub(crate) fn end_lots(&mut self, id: SubscriptionId, which: impl Fn(&Lot) -> bool) {
        let at = self.at;
        let mut parts = Vec::new();
        for (index, lot) in self.wallet.lots.iter_mut().enumerate() {
            if lot.lot().is_of(id) && !lot.lot().has_ended(at) && which(lot.lot()) {
                parts.push((index, lot.lot().free()));
                take_from(lot, lot.lot().free());
                lot.lot_mut().ended = Some(Ending::Voided);
            }
        }
        if !parts.is_empty() {
            self.tell(Step::Withdrawn { subscription_id: id, parts, ends: true });
        }
    }

    /// Takes up to `amount` back from those of a subscription's usable lots that `which` names, the latest in burn
    /// order first, noting it in `parts`; how much there was.
    pub(crate) fn take_back(
        &mut self,
        id: SubscriptionId,
        amount: Credits,
        which: impl Fn(&Lot) -> bool,
        parts: &mut Vec<(usize, Credits)>,
    ) -> Credits {
        let mut left = amount;
        for (index, lot) in self.wallet.lots.iter_mut().enumerate().rev() {
            let part = lot.lot().free().min(left);
            if part.is_positive() && lot.lot().is_of(id) && lot.lot().is_usable(self.at) && which(lot.lot()) {
                take_from(lot, part);
                left -= part;
                parts.push((index, part));
            }
        }
        amount - left
    }

    /// What holds gave back pays claw-backs.
    pub(crate) fn tell_clawed_back(&mut self, paid: Vec<Settlement>) {
        if !paid.is_empty() {
            self.tell(Step::ClawedBack(paid));
        }
    }

    /// Lots that begin at this instant begin. Only for an instant that time has come to.
    pub(crate) fn start_lots(&mut self) {
        let at = self.at;
        let lots = self.wallet.lots.iter().map(HasLot::lot).enumerate();
        let starting = lots.filter(|(_, lot)| lot.effective_at == at && lot.remaining.is_positive());
        let started: Vec<_> = starting.map(|(index, lot)| (index, lot.remaining)).collect();
        if !started.is_empty() {
            self.tell(Step::Started(started));
        }
    }

    /// What is over leaves: it rolls over, or is gone.
    pub(crate) fn end_what_is_over(&mut self) {
        self.roll_over();
        let leaving = self.wallet.sweep();
        if !leaving.is_empty() {
            self.tell(Step::Left(leaving));
        }
    }

    /// What was subscribed to is remembered, what subscriptions give is granted, and free credit pays debts.
    pub(crate) fn grant_and_settle(&mut self) {
        if !are_alike(&self.subscribed_before, &self.wallet.subscribed()) {
            self.wallet.past.note(std::mem::take(&mut self.subscribed_before), self.since, self.at);
        }
        for (subscription_id, orders) in std::mem::take(&mut self.orders) {
            let lots = self.grant(orders);
            self.tell(Step::Granted { subscription_id, lots });
        }
        let settled = self.wallet.settle();
        if !settled.is_empty() {
            self.tell(Step::Settled(settled));
        }
    }

    /// All that follows from what has moved.
    pub(crate) fn finish(&mut self) {
        self.end_what_is_over();
        self.grant_and_settle();
    }

    fn roll_over(&mut self) {
        let at = self.at;
        let Wallet { lots, rollovers, subscriptions, .. } = &mut *self.wallet;
        let status = |id| subscriptions.iter().find(|own| own.id == id);
        let is_paused = |id| status(id).is_some_and(|own| own.status == SubscriptionStatus::Paused);
        rollovers.forget_over(at, is_paused);
        for lot in lots.iter().map(HasLot::lot) {
            let ends_now = lot.expires_at == Some(at) && lot.has_expired(at) && lot.ended.is_none();
            if let Some((origin, rule)) = lot.origin.zip(lot.rollover)
                && ends_now
                && rule.until > at
                && lot.remaining.is_positive()
                && status(origin.subscription_id).is_some_and(|own| own.carries_on())
            {
                rollovers.open(origin, at, rule);
            }
        }
        let mut moving: Vec<(usize, Lot)> = Vec::new();
        for (index, lot) in lots.iter_mut().enumerate() {
            let is_over = lot.lot().has_expired(at) && lot.lot().ended.is_none() && lot.lot().free().is_positive();
            if is_over && let Some(new) = rollovers.roll(lot.lot(), is_paused) {
                lot.lot_mut().remaining -= new.remaining;
                lot.note_rolled(new.remaining);
                moving.push((index, new));
            }
        }
        if moving.is_empty() {
            return;
        }
        let mut rolled: Vec<Rolled> = Vec::with_capacity(moving.len());
        let mut sources: Vec<usize> = moving.iter().map(|(from, _)| *from).collect();
        for (number, (_, new)) in moving.into_iter().enumerate() {
            let amount = new.remaining;
            let same = |lot: &L| lot.lot().remaining.is_positive() && lot.lot().is_like(&new);
            let (to, is_new) = match self.wallet.lots.iter().position(same) {
                Some(to) => {
                    self.wallet.lots[to].lot_mut().remaining += amount;
                    self.wallet.lots[to].note_received(amount);
                    (to, false)
                }
                None => {
                    let to = self.wallet.make(new, at);
                    for place in sources.iter_mut().chain(rolled.iter_mut().map(|part| &mut part.to)) {
                        *place += usize::from(*place >= to);
                    }
                    (to, true)
                }
            };
            rolled.push(Rolled { from: number, to, amount, is_new });
        }
        for part in &mut rolled {
            part.from = sources[part.from];
        }
        self.tell(Step::Rolled(rolled));
    }

    fn grant(&mut self, orders: Vec<LotOrder>) -> Vec<NewLot> {
        let mut granted: Vec<NewLot> = Vec::with_capacity(orders.len());
        for LotOrder { mut lot, accumulation_cap } in orders {
            let asked = lot.remaining;
            lot.remaining = self.wallet.room_under_cap(&lot, accumulation_cap).min(self.room_in_range(&lot));
            let mut place = None;
            if lot.remaining.is_positive() {
                let at = self.wallet.make(lot.clone(), self.at);
                for earlier in granted.iter_mut().filter_map(|earlier| earlier.place.as_mut()) {
                    *earlier += usize::from(*earlier >= at);
                }
                place = Some(at);
            }
            granted.push(NewLot { place, trimmed: asked - lot.remaining, lot });
        }
        granted
    }

    /// What the range of amounts leaves room for: time cannot be refused.
    fn room_in_range(&mut self, lot: &Lot) -> Credits {
        let remaining: Credits = self.wallet.lots.iter().map(|lot| lot.lot().remaining).sum();
        let room = Credits::MAX - remaining;
        self.was_cut |= room < lot.remaining;
        room
    }
}

fn take_from<L: HasLot>(lot: &mut L, amount: Credits) {
    lot.lot_mut().remaining -= amount;
    lot.note_withdrawn(amount);
}

/// Whether a lot came from a plan, in this period or an earlier one.
pub(crate) fn is_of_plan(lot: &Lot) -> bool {
    matches!(lot.kind, BlockKind::Plan | BlockKind::Rollover)
}
