//! Leases that this run of a sidecar holds: credit that it may spend without asking. Source: docs/sync.md, "Leases".
//!
//! Invariants: of each lease, spent + returned <= granted, and neither becomes less; nothing is spent of one that is over. They live in this memory only: a restart begins with none, and what a lease held comes back at the server with
//! its end. Used by [`super::machine`] only.

use std::collections::{BTreeMap, HashMap};

use crate::credits::Credits;
use crate::ids::{EndUserId, FeatureKey, ReservationId};
use crate::time::{MICROS_PER_SECOND, Timestamp};

/// A lease of which nothing was spent for so long is given back.
const IDLE_MICROS: i64 = 2 * MICROS_PER_SECOND;
/// Less than this part of what was wanted last is left: time to ask for more.
const LOW_WATER: i64 = 4;
/// A first lease is wanted for so many events like the one that asks for it.
const FIRST_EVENTS: i64 = 16;
/// One that was used up within this time is followed by one twice as large, one that was not by one half as large.
const BUSY_MICROS: i64 = 5 * MICROS_PER_SECOND;
/// Where others find nothing, so often is looked at what is not needed,
const LOOK_MICROS: i64 = MICROS_PER_SECOND / 2;
/// and so many times what was spent since is kept.
const KEPT_LOOKS: i64 = 4;

#[derive(Debug)]
struct Lease {
    id: ReservationId,
    granted: Credits,
    spent: Credits,
    returned: Credits,
    /// In the environment's time.
    until: Timestamp,
    /// In real time.
    last_spent_at: Timestamp,
}

impl Lease {
    fn left(&self) -> Credits {
        self.granted - self.spent - self.returned
    }
}

/// What is held of one end user for one feature, and how much is wanted next.
#[derive(Debug)]
struct Held {
    leases: Vec<Lease>,
    want: Credits,
    opened_at: Timestamp,
    /// When it was last looked at, and what was spent since.
    looked_at: Timestamp,
    spent_since: Credits,
}

impl Held {
    /// Takes what is not needed soon, going by what was spent since the last look, off the latest leases: of each how
    /// much was returned in all.
    fn take_surplus(&mut self) -> impl Iterator<Item = (ReservationId, Credits)> {
        let left: Credits = self.leases.iter().map(Lease::left).sum();
        let kept = Credits::new(self.spent_since.get().saturating_mul(KEPT_LOOKS)).unwrap_or(Credits::MAX);
        let mut surplus = (left - kept).max(Credits::ZERO);
        self.leases.iter_mut().rev().filter_map(move |lease| {
            let part = lease.left().min(surplus);
            surplus -= part;
            lease.returned += part;
            part.is_positive().then_some((lease.id, lease.returned))
        })
    }
}

/// What to ask the server for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseWish {
    /// Of less there is no use.
    pub need: Credits,
    /// More is not needed.
    pub want: Credits,
}

/// Credit of a lease that goes back, in all since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseReturn {
    /// Whose.
    pub end_user_id: EndUserId,
    /// The lease.
    pub id: ReservationId,
    /// How much.
    pub returned: Credits,
}

#[derive(Debug)]
struct Returning {
    returned: LeaseReturn,
    is_sent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<EndUserId, BTreeMap<FeatureKey, Held>>,
    /// What the server has not confirmed yet.
    returning: BTreeMap<ReservationId, Returning>,
}

impl Leases {
    /// Whether anything is held for this end user.
    pub(crate) fn has(&self, end_user_id: &EndUserId) -> bool {
        self.held.contains_key(end_user_id)
    }

    /// Whether this one is held.
    pub(crate) fn holds(&self, end_user_id: &EndUserId, feature_key: &FeatureKey, id: ReservationId) -> bool {
        let held = self.held_for(end_user_id, feature_key);
        held.is_some_and(|held| held.leases.iter().any(|lease| lease.id == id))
    }

    /// The lease that pays `cost` at `at`; `None` if none has that much.
    pub(crate) fn spend(
        &mut self,
        (end_user_id, feature_key): (&EndUserId, &FeatureKey),
        cost: Credits,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<ReservationId> {
        let held = self.held.get_mut(end_user_id)?.get_mut(feature_key)?;
        let lease = held.leases.iter_mut().find(|lease| at < lease.until && cost <= lease.left())?;
        lease.spent += cost;
        lease.last_spent_at = now;
        held.spent_since += cost;
        Some(lease.id)
    }

    /// Whether what is left is so little that more should be asked for before it is used up.
    pub(crate) fn is_low(&self, end_user_id: &EndUserId, feature_key: &FeatureKey) -> bool {
        self.held_for(end_user_id, feature_key).is_some_and(|held| {
            let left: Credits = held.leases.iter().map(Lease::left).sum();
            left.get() < held.want.get() / LOW_WATER
        })
    }

    fn held_for(&self, end_user_id: &EndUserId, feature_key: &FeatureKey) -> Option<&Held> {
        self.held.get(end_user_id)?.get(feature_key)
    }

    /// What to ask for, for an event that costs `need`.
    pub(crate) fn wish(
        &self,
        end_user_id: &EndUserId,
        feature_key: &FeatureKey,
        need: Credits,
        now: Timestamp,
    ) -> LeaseWish {
        let times =
            |amount: Credits, factor: i64| Credits::new(amount.get().saturating_mul(factor)).unwrap_or(Credits::MAX);
        let want = match self.held_for(end_user_id, feature_key) {
            None => times(need, FIRST_EVENTS),
            Some(held) if now.micros_since(held.opened_at) < BUSY_MICROS => times(held.want, 2),
            Some(held) => Credits::new(held.want.get() / 2).expect("a part of an amount is one"),
        };
        LeaseWish { need, want: want.max(need) }
    }

    /// The server has opened one.
    pub(crate) fn opened(
        &mut self,
        (end_user_id, feature_key): (&EndUserId, &FeatureKey),
        id: ReservationId,
        granted: Credits,
        until: Timestamp,
        now: Timestamp,
    ) {
        let of_end_user = self.held.entry(end_user_id.clone()).or_default();
        let held = of_end_user.entry(feature_key.clone()).or_insert(Held {
            leases: Vec::new(),
            want: granted,
            opened_at: now,
            looked_at: now,
            spent_since: Credits::ZERO,
        });
        (held.want, held.opened_at) = (granted, now);
        let (spent, returned) = (Credits::ZERO, Credits::ZERO);
        held.leases.push(Lease { id, granted, spent, returned, until, last_spent_at: now });
    }

    /// It is not known whether the server has opened it: if so, all of it goes back.
    pub(crate) fn is_doubtful(&mut self, end_user_id: &EndUserId, id: ReservationId) {
        self.give_back(LeaseReturn { end_user_id: end_user_id.clone(), id, returned: Credits::MAX });
    }

    fn give_back(&mut self, returned: LeaseReturn) {
        self.returning.insert(returned.id, Returning { returned, is_sent: false });
    }

    /// Ends what is over, idle or used up; with `all`, whatever there is. Where others find no credit (`is_short`), what is
    /// not needed soon goes back too. The end users of whom something went back.
    pub(crate) fn end(
        &mut self,
        at: Timestamp,
        now: Timestamp,
        all: bool,
        is_short: impl Fn(&EndUserId, &FeatureKey, Credits) -> bool,
    ) -> Vec<EndUserId> {
        let mut ended = Vec::new();
        let mut returned = Vec::new();
        self.held.retain(|end_user_id, features| {
            features.retain(|feature_key, held| {
                if now.micros_since(held.looked_at) >= LOOK_MICROS {
                    if is_short(end_user_id, feature_key, held.want) {
                        let parts = held.take_surplus();
                        returned.extend(parts.map(|(id, returned)| LeaseReturn {
                            end_user_id: end_user_id.clone(),
                            id,
                            returned,
                        }));
                    }
                    (held.looked_at, held.spent_since) = (now, Credits::ZERO);
                }
                held.leases.retain(|lease| {
                    let is_idle = now.micros_since(lease.last_spent_at) >= IDLE_MICROS;
                    let (id, left) = (lease.id, lease.left());
                    let ends = all || is_idle || at >= lease.until || left.is_zero();
                    if ends && left.is_positive() {
                        let returned_in_all = lease.returned + left;
                        let end_user_id = end_user_id.clone();
                        returned.push(LeaseReturn { end_user_id, id, returned: returned_in_all });
                    }
                    !ends
                });
                // How much is wanted is remembered for a while.
                !held.leases.is_empty() || (!all && now.micros_since(held.opened_at) < BUSY_MICROS)
            });
            if features.is_empty() {
                ended.push(end_user_id.clone());
            }
            !features.is_empty()
        });
        ended.extend(returned.iter().map(|returned| returned.end_user_id.clone()));
        returned.into_iter().for_each(|returned| self.give_back(returned));
        ended
    }

    /// What is to be sent back now.
    pub(crate) fn take_returns(&mut self) -> Vec<LeaseReturn> {
        let waiting = self.returning.values_mut().filter(|returning| !returning.is_sent);
        waiting
            .map(|returning| {
                returning.is_sent = true;
                returning.returned.clone()
            })
            .collect()
    }

    /// The server has it, or (`false`) it is not known whether. More of the lease may have been given back since.
    pub(crate) fn returned(&mut self, returned: &LeaseReturn, is_confirmed: bool) {
        let Some(returning) = self.returning.get_mut(&returned.id).filter(|own| own.returned == *returned) else {
            return;
        };
        if is_confirmed {
            self.returning.remove(&returned.id);
        } else {
            returning.is_sent = false;
        }
    }

    /// The link is gone: what was not confirmed is sent again.
    pub(crate) fn link_down(&mut self) {
        self.returning.values_mut().for_each(|returning| returning.is_sent = false);
    }

    /// Whether the server has confirmed all that was given back.
    pub(crate) fn is_returned(&self) -> bool {
        self.returning.is_empty()
    }

    /// Another history: nothing of it is known there.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Leases that are held, and what is left of them.
    pub(crate) fn figures(&self) -> (usize, Credits) {
        let leases = || self.held.values().flat_map(BTreeMap::values).flat_map(|held| &held.leases);
        (leases().count(), leases().map(Lease::left).sum())
    }
}
