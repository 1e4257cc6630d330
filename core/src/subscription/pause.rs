//! Pauses: the clock of a subscription stands, and its credit with it. Source: docs/subscriptions.md, "What time does".

use crate::catalogue::PlanKind;
use crate::ids::SubscriptionId;
use crate::ledger::block::{HasLot, Lot, Reschedule};
use crate::ledger::motion::{Motion, is_of_plan};
use crate::limits::CONTRACT_PERIODS_MAX;
use crate::subscription::machine::Happening;
use crate::subscription::state::{Paused, Subscription, SubscriptionStatus};
use crate::time::{Series, Timestamp};

impl<L: HasLot> Motion<'_, L> {
    /// Stops the clock of a subscription, and of its add-ons with it.
    pub(super) fn pause(&mut self, id: SubscriptionId, happening: Happening, resume_at: Option<Timestamp>) {
        let pause = Paused { since: self.at, resume_at, with_base: false };
        self.stop_clock(id, happening, pause);
        if self.subscription(id).plan_kind == PlanKind::Base {
            for addon in self.addons(|own| own.status == SubscriptionStatus::Active) {
                self.put_to_sleep(addon);
            }
        }
    }

    /// Lets the clock go on, of the add-ons that slept with it too.
    pub(super) fn resume(&mut self, id: SubscriptionId, happening: Happening) {
        let mut own = self.moving(id, happening);
        self.start_clock(&mut own);
        let is_base = own.plan_kind == PlanKind::Base;
        self.keep(own, happening);
        self.sleep_with_base(id);
        if is_base {
            for addon in self.addons(|own| own.paused.is_some_and(|pause| pause.with_base)) {
                self.resume(addon, Happening::BaseResumes);
            }
        }
    }

    pub(super) fn stop_clock(&mut self, id: SubscriptionId, happening: Happening, pause: Paused) {
        let mut own = self.moving(id, happening);
        own.paused = Some(pause);
        // What an add-on was to do at the end of its own period it does then.
        if !pause.with_base {
            (own.pause_at, own.pause_until) = (None, None);
        }
        let at = self.at;
        // What ends at this very instant has not ended yet where time has come to it: subscriptions move first.
        let passes = self.is_passing;
        let lives = move |end: Timestamp| end > at || (passes && end == at);
        self.reschedule(id, Reschedule::Frozen, |lot: &Lot| is_of_plan(lot) && lot.expires_at.is_some_and(lives));
        self.keep(own, happening);
    }

    /// All that the clock of `own` drives moves by the pause.
    pub(super) fn start_clock(&mut self, own: &mut Subscription) {
        let Some(pause) = own.paused.take() else { return };
        let micros = self.at.micros_since(pause.since);
        self.reschedule(own.id, Reschedule::MovedBy(micros), |lot| lot.frozen);
        if micros == 0 {
            return;
        }
        self.wallet.rollovers.move_by(own.id, micros);
        let (old_end, old_series) = (own.current_period.end, own.series);
        let length = self.variant(own.target()).map(|variant| variant.billing_period);
        own.intervals.pause_for(micros);
        own.current_period.end = old_end.saturating_add_micros(micros);
        own.stretched_micros = own.stretched_micros.saturating_add(micros);
        own.series = Series { anchor: own.current_period.end, next: 0 };
        for allowance in &mut own.allowances {
            allowance.move_by(micros);
        }
        own.pause_at = own.pause_at.map(|_| own.current_period.end);
        own.pause_until = own.pause_until.map(|at| at.saturating_add_micros(micros));
        if own.is_fallback
            && let Some(periods) = &mut self.wallet.given.fallback
        {
            periods.move_by(micros);
        }
        if let Some(old) = own.contract_end {
            // The end of a later period stays the end of that period.
            let later = length.filter(|_| old > old_end).and_then(|length| {
                let end = |index| length.end(old_series.anchor, old_series.next.saturating_add(index));
                let index = (0..CONTRACT_PERIODS_MAX).find(|index| end(*index) >= old)?;
                (end(index) == old).then(|| length.end(own.current_period.end, index))
            });
            let new = later.unwrap_or_else(|| old.saturating_add_micros(micros));
            own.contract_end = Some(new);
            let by = new.micros_since(old);
            own.contract_notice = own.contract_notice.map(|at| at.saturating_add_micros(by));
        }
    }

    /// The end user's add-ons that `which` names, in order of their ids.
    pub(super) fn addons(&self, which: impl Fn(&Subscription) -> bool) -> Vec<SubscriptionId> {
        let addons = self.wallet.subscriptions.iter().filter(|own| own.plan_kind == PlanKind::Addon && which(own));
        addons.map(|own| own.id).collect()
    }
}
