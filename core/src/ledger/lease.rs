//! Leases: credit that one run of one sidecar may spend without asking. Source: docs/ledger.md, "Leases".
//!
//! A lease is a reservation of an amount instead of units, and its hold outlives it by [`LEASE_GRACE_MICROS`]: what was
//! spent in time may arrive until then. Each event that was admitted under it says what it cost and takes that from the
//! hold, whoever reports it and in whatever order. Credit comes back when the holder returns it, or with the hold's end.

use crate::catalogue::Catalogue;
use crate::credits::{Credits, Units};
use crate::entitlement::evaluate::gate;
use crate::ids::ReservationId;
use crate::ledger::book::{Book, given_back};
use crate::ledger::command::{Leased, OpenLease, Properties, ReturnLease, Usage};
use crate::ledger::commit::pay_from_hold;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind, HoldTerms};
use crate::ledger::hold::Hold;
use crate::ledger::outcome::{Outcome, UsageRecord};
use crate::ledger::quote::quote;
use crate::ledger::refusal::Refusal;
use crate::ledger::reservation::{LeaseTerms, Reservation, ReservationStatus};
use crate::ledger::reserve::{close, hold_mut, note_opened};
use crate::ledger::usage::when;
use crate::limits::{LEASE_GRACE_MICROS, LEASE_TTL_MICROS, OPEN_HOLDS_MAX};
use crate::time::Timestamp;

/// A lease gets at most this part of what may be spent, unless it needs more: others want some too.
const SHARE: i64 = 4;

/// Sets credit aside for a sidecar: what it needs at least, what it wants at most. A repeat answers as the lease stands.
pub(super) fn open(book: &mut Book<'_>, catalogue: &Catalogue, order: &OpenLease) -> Result<Outcome, Refusal> {
    let now = book.now();
    if let Some(known) = book.account.reservation(order.id) {
        let is_same = known.lease.as_ref().is_some_and(|lease| lease.holder == order.holder);
        let reservation = known.clone();
        return if is_same {
            Ok(Outcome::Reserved { reservation, standing: book.standing() })
        } else {
            Err(Refusal::LeaseOfAnother(order.id))
        };
    }
    let feature_key = &order.feature_key;
    gate(&book.account.wallet, catalogue, feature_key)?;
    let quote = quote(&book.account.wallet, catalogue, feature_key, &Properties::new(), now)?;
    let wallet = &mut book.account.wallet;
    if wallet.holds.len() >= OPEN_HOLDS_MAX {
        return Err(Refusal::TooManyHolds);
    }
    let spendable = wallet.spendable(feature_key);
    // An empty lease would be none.
    let need = order.need.max(Credits::new(1).expect("1 is an amount"));
    if need > spendable {
        return Err(Refusal::InsufficientCredits { cost: need, spendable });
    }
    let share = Credits::new(spendable.get() / SHARE).expect("a part of an amount is one");
    let amount = order.want.min(share).max(need);
    let parts = wallet.set_aside(feature_key, amount);
    // Not spendable any longer than the credit that it is made of.
    let ends = parts.iter().filter_map(|part| wallet.lots[part.lot].lot.expires_at).min().unwrap_or(Timestamp::MAX);
    let until = now.saturating_add_micros(LEASE_TTL_MICROS).min(ends);
    let expires_at = until.saturating_add_micros(LEASE_GRACE_MICROS);
    let allocations = parts.iter().map(|part| Allocation::of_held(wallet.lots[part.lot].id, part.amount)).collect();
    let uncovered = Credits::ZERO;
    wallet.open_hold(Hold {
        id: order.id,
        feature_key: feature_key.clone(),
        expires_at,
        parts,
        uncovered,
        counted: None,
    });
    let reservation = Reservation {
        id: order.id,
        feature_key: feature_key.clone(),
        status: ReservationStatus::Active,
        units: Units::default(),
        properties: Properties::new(),
        quote,
        amount,
        committed_units: Units::default(),
        committed_cost: Credits::ZERO,
        created_at: now,
        expires_at,
        closed_at: None,
        held: amount,
        uncovered,
        lease: Some(Box::new(LeaseTerms { holder: order.holder, until, returned: Credits::ZERO })),
    };
    Ok(note_opened(book, reservation, allocations, None))
}

/// Takes an event that was admitted under a lease from its hold; `None` if that is gone or holds less: then it is late,
/// and ordinary usage of the same cost.
pub(super) fn spend(book: &mut Book<'_>, usage: &Usage, leased: &Leased) -> Result<Option<UsageRecord>, Refusal> {
    let Leased { id, cost, priced_by } = *leased;
    let open = book.account.reservation(id).filter(|own| own.status == ReservationStatus::Active);
    let fits = |own: &&Reservation| own.lease.is_some() && own.feature_key == usage.feature_key && own.held >= cost;
    let Some(reservation) = open.filter(fits) else { return Ok(None) };
    let committed_units = Units::new(reservation.committed_units.get().saturating_add(usage.units.get()))?;
    let effective_at = when(usage, book.now())?;
    let hold = hold_mut(book.account, id);
    let parts = hold.take(cost);
    let still_open = HoldTerms { expires_at: hold.expires_at, uncovered: hold.uncovered };
    let is_spent = hold.parts.is_empty();
    let (allocations, changes) = pay_from_hold(&mut book.account.wallet, parts);
    let (feature_key, units) = (usage.feature_key.clone(), usage.units);
    let cause = Cause::Commit { id: usage.id, reservation_id: id, feature_key: feature_key.clone(), units };
    let seq = book.write(EntryBody {
        amount: -cost,
        allocations: changes,
        hold: (!is_spent).then_some(still_open),
        ..EntryBody::new(EntryKind::Commit, cause, effective_at)
    });
    book.account.lifetime_consumed = (book.account.lifetime_consumed + cost).min(Credits::MAX);
    let reservation = book.account.reservation_mut(id).expect("the reservation is open");
    reservation.committed_units = committed_units;
    reservation.committed_cost += cost;
    let record = UsageRecord {
        id: usage.id,
        key: usage.key.clone(),
        fingerprint: usage.fingerprint(),
        feature_key,
        units,
        properties: usage.properties.clone(),
        cost,
        charged: cost,
        owed: Credits::ZERO,
        priced_by,
        counter: None,
        reservation_id: Some(id),
        effective_at,
        recorded_at: book.now(),
        seq,
        totals: book.account.totals,
        version: 0,
        allocations,
    };
    if is_spent {
        close(book, id, ReservationStatus::Committed);
    } else {
        book.note_hold(id);
    }
    book.account.tallies.count(&record);
    Ok(Some(record))
}

/// The holder gives back what it will not spend: `returned` in all. What is more than the hold has, or was returned
/// before, is nothing.
pub(super) fn give_back(book: &mut Book<'_>, order: &ReturnLease) -> Result<Outcome, Refusal> {
    let id = order.id;
    let known = book.account.reservation_mut(id).ok_or(Refusal::ReservationUnknown(id))?;
    let Some(lease) = known.lease.as_mut().filter(|lease| lease.holder == order.holder) else {
        return Err(Refusal::LeaseOfAnother(id));
    };
    let more = order.returned - lease.returned;
    if known.status == ReservationStatus::Active && more.is_positive() {
        lease.returned = order.returned;
        if more >= known.held {
            let clawed_back = close(book, id, ReservationStatus::Released);
            book.after_return(clawed_back);
        } else {
            give_back_part(book, id, more);
        }
    }
    let reservation = book.account.reservation(id).expect("it was just found").clone();
    Ok(Outcome::Reserved { reservation, standing: book.standing() })
}

/// Less than all: the last in burn order comes back.
fn give_back_part(book: &mut Book<'_>, id: ReservationId, amount: Credits) {
    let now = book.now();
    let hold = hold_mut(book.account, id);
    let returned = Hold { parts: hold.take_last(amount), counted: None, ..hold.clone() };
    let terms = HoldTerms { expires_at: hold.expires_at, uncovered: hold.uncovered };
    let clawed_back = book.account.wallet.give_back(&returned);
    let allocations = given_back(&book.account.wallet, &returned);
    let cause = book.account.reservation(id).expect("it was just found").cause();
    book.write(EntryBody { allocations, hold: Some(terms), ..EntryBody::new(EntryKind::Release, cause, now) });
    book.note_hold(id);
    book.after_return(clawed_back);
}
