//! How subscriptions begin: at once, at their scheduled start, out of a trial, or as the fallback.

use crate::catalogue::{PlanKind, Variant};
use crate::credits::Credits;
use crate::ids::{SubscriptionId, uuid_v7};
use crate::ledger::block::HasLot;
use crate::ledger::motion::Motion;
use crate::ledger::step::Step;
use crate::subscription::given::FallbackPeriods;
use crate::subscription::machine::{Happening, next};
use crate::subscription::order::{EndCredits, Import, ImportGrants};
use crate::subscription::period::days_after;
use crate::subscription::state::{Paused, Subscription, SubscriptionStatus, Target};
use crate::subscription::template::Share;
use crate::subscription::term::TermFrom;
use crate::time::{Interval, Series};

impl<L: HasLot> Motion<'_, L> {
    /// Adds a subscription that was made now, as `own` (which is scheduled) or begun.
    pub(super) fn add(&mut self, mut own: Subscription, variant: &Variant, import: Option<Import>) {
        if own.current_period.start <= self.at {
            self.begin(&mut own, variant, import);
        }
        self.wallet.add_subscription(own.clone());
        let id = own.id;
        self.tell(Step::Moved { before: None, after: Box::new(own), happening: None });
        self.sleep_with_base(id);
    }

    /// The start of a scheduled subscription has come: it begins if there is room for it.
    pub(super) fn start_scheduled(&mut self, id: SubscriptionId) {
        let own = self.subscription(id);
        let base = self.wallet.base();
        let has_room = match own.plan_kind {
            PlanKind::Base => base.is_none_or(|base| base.is_fallback),
            PlanKind::Addon => base.is_some_and(|base| !base.is_fallback),
        };
        let Some(variant) = self.variant(own.target()).filter(|_| has_room) else {
            return self.end(id, Happening::BaseEnds, EndCredits::Keep);
        };
        let mut own = own.clone();
        if let Some(fallback) = base.filter(|_| own.plan_kind == PlanKind::Base).map(|base| base.id) {
            self.end(fallback, Happening::Replaced, EndCredits::Keep);
        }
        let happening = self.begin(&mut own, variant, None);
        self.keep(own, happening);
        self.sleep_with_base(id);
    }

    /// The trial becomes a subscription: its first period opens now.
    pub(super) fn convert(&mut self, id: SubscriptionId, happening: Happening) {
        let mut own = self.moving(id, happening);
        let Some(variant) = self.variant(own.target()) else {
            return self.end(id, Happening::TrialExpires, EndCredits::Keep);
        };
        own.trial_end = Some(self.at);
        (own.cancel_at, own.owed) = (None, Credits::ZERO);
        own.allowances.clear();
        self.open_period_now(&mut own, variant);
        self.give(&mut own, variant, Share::Full, |_| true);
        self.keep(own, happening);
        self.sleep_with_base(id);
    }

    /// The end user falls back to the free variant, if there is one: at the end of `ended`.
    pub(super) fn fall_back(&mut self, ended: &Subscription) {
        let Some((variant_id, variant)) = self.catalogue.fallback() else { return };
        let is_taken = |own: &&Subscription| {
            own.plan_kind == PlanKind::Base && (own.is_running() || own.current_period.start <= self.at)
        };
        if variant.plan_kind != PlanKind::Base || self.wallet.subscriptions.iter().any(|own| is_taken(&own)) {
            return;
        }
        let id = self.id_of_fallback(ended.id);
        let target = Target { variant_id, variant_version: variant.version, quantity: 1 };
        self.add(Subscription::scheduled(id, target, variant, self.at, self.at), variant, None);
    }

    /// Whoever reads it before it is written, and whoever writes it, give it the same id.
    fn id_of_fallback(&self, ended: SubscriptionId) -> SubscriptionId {
        let mut random = [0; 10];
        random.copy_from_slice(&blake3::hash(ended.uuid().as_bytes()).as_bytes()[..10]);
        SubscriptionId::from_uuid(uuid_v7(self.at, random, Some(ended.bucket())))
    }

    /// A scheduled subscription begins, in a trial that its end user has not had or with its first period.
    fn begin(&mut self, own: &mut Subscription, variant: &Variant, import: Option<Import>) -> Happening {
        let has_trial = variant.trial_days > 0 && import.is_none() && self.wallet.given.trials.insert(own.plan_id);
        let happening = if has_trial { Happening::StartsInTrial } else { Happening::Starts };
        own.status = next(own.status, happening).expect("only what is scheduled begins");
        let at = self.at;
        own.started_at = at;
        let mut share = Share::Full;
        if has_trial {
            let end = days_after(at, variant.trial_days);
            own.trial_end = Some(end);
            own.open_series(Interval { start: at, end }, Series { anchor: at, next: 0 });
        } else if let Some(import) = import {
            let (period, series) = Series::begin(import.period_start, variant.billing_period);
            own.open_series(period, series);
            self.since = self.since.min(period.start);
            share = match import.grants {
                ImportGrants::Full => Share::Full,
                ImportGrants::Prorated => Share::Left,
                ImportGrants::None => Share::Nothing,
            };
        } else if variant.fallback {
            let first = || FallbackPeriods { anchor: at, granted_until: Default::default() };
            let anchor = self.wallet.given.fallback.get_or_insert_with(first).anchor;
            let (period, series) = Series::containing(anchor, variant.billing_period, at);
            own.open_series(period, series);
        } else {
            let (period, series) = Series::begin(at, variant.billing_period);
            own.open_series(period, series);
        }
        if !has_trial {
            own.begin_term(variant, TermFrom::ThisPeriod);
        }
        self.give(own, variant, share, |_| true);
        happening
    }

    /// An add-on that begins, or becomes active, while its base is paused sleeps at once.
    pub(super) fn sleep_with_base(&mut self, id: SubscriptionId) {
        let own = self.subscription(id);
        let is_awake = own.plan_kind == PlanKind::Addon && own.status == SubscriptionStatus::Active;
        if is_awake && self.wallet.base().is_some_and(|base| base.status == SubscriptionStatus::Paused) {
            self.put_to_sleep(id);
        }
    }

    /// Its base is paused.
    pub(super) fn put_to_sleep(&mut self, id: SubscriptionId) {
        let pause = Paused { since: self.at, resume_at: None, with_base: true };
        self.stop_clock(id, Happening::BasePauses, pause);
    }
}
