//! Making, extending and releasing reservations. Source: docs/ledger.md, "Reservations".

use crate::catalogue::{Catalogue, OveragePolicy};
use crate::credits::{Credits, Units};
use crate::entitlement::evaluate::gate;
use crate::ids::ReservationId;
use crate::ledger::account::Account;
use crate::ledger::book::{Book, given_back, uncounted};
use crate::ledger::command::{Extend, Reserve};
use crate::ledger::counter::CounterKey;
use crate::ledger::entry::{Allocation, EntryBody, EntryKind, HoldTerms};
use crate::ledger::hold::Hold;
use crate::ledger::outcome::Outcome;
use crate::ledger::quote::quote;
use crate::ledger::refusal::Refusal;
use crate::ledger::reservation::{Reservation, ReservationStatus};
use crate::ledger::usage::{check_overdraft, policy_of};
use crate::ledger::wallet::Settlement;
use crate::limits::{OPEN_HOLDS_MAX, RESERVATION_TTL_SECONDS_MAX};
use crate::time::{MICROS_PER_SECOND, Timestamp};

/// How long a reservation may live from its start, extensions included, in microseconds.
const TTL_MICROS_MAX: i64 = RESERVATION_TTL_SECONDS_MAX * MICROS_PER_SECOND;

/// Sets credit aside if the end user may.
pub(super) fn reserve(book: &mut Book<'_>, catalogue: &Catalogue, order: &Reserve) -> Result<Outcome, Refusal> {
    let now = book.now();
    let feature_key = &order.feature_key;
    let expires_at = end_of(order.ttl_micros, now)?;
    gate(&book.account.wallet, catalogue, feature_key)?;
    let wallet = &mut book.account.wallet;
    if wallet.holds.len() >= OPEN_HOLDS_MAX {
        return Err(Refusal::TooManyHolds);
    }
    let mut quote = quote(wallet, catalogue, feature_key, &order.properties, now)?;
    let cost = quote.cost_of(order.units)?;
    if let Some(key) = &quote.counter {
        wallet.counters.check_room_for(key, order.units)?;
    }
    quote.overage_policy = policy_of(order.on_insufficient, quote.overage_policy, false)?;
    let spendable = wallet.spendable(feature_key);
    let amount = cost.min(spendable);
    let short = cost - amount;
    let uncovered = match quote.overage_policy {
        _ if short.is_zero() => Credits::ZERO,
        OveragePolicy::Block => return Err(Refusal::InsufficientCredits { cost, spendable }),
        OveragePolicy::Cap => Credits::ZERO,
        OveragePolicy::Overdraft | OveragePolicy::Notify => {
            check_overdraft(wallet, feature_key, short, Credits::ZERO, quote.overdraft_limit)?;
            short
        }
    };
    let parts = wallet.set_aside(feature_key, amount);
    let allocations = parts.iter().map(|part| Allocation::of_held(wallet.lots[part.lot].id, part.amount)).collect();
    let counted = quote.counter.clone().filter(|_| order.units > Units::default()).map(|key| (key, order.units));
    if let Some((key, units)) = &counted {
        wallet.counters.add(key, units.get());
    }
    let counted_now = counted.clone().map(|(key, units)| (key, units.get()));
    wallet.open_hold(Hold { id: order.id, feature_key: feature_key.clone(), expires_at, parts, uncovered, counted });
    let reservation = Reservation {
        id: order.id,
        feature_key: feature_key.clone(),
        status: ReservationStatus::Active,
        units: order.units,
        properties: order.properties.clone(),
        quote,
        amount,
        committed_units: Units::default(),
        committed_cost: Credits::ZERO,
        created_at: now,
        expires_at,
        closed_at: None,
        held: amount,
        uncovered,
        lease: None,
    };
    Ok(note_opened(book, reservation, allocations, counted_now))
}

/// Writes down a reservation whose hold was just opened.
pub(super) fn note_opened(
    book: &mut Book<'_>,
    reservation: Reservation,
    allocations: Vec<Allocation>,
    counted: Option<(CounterKey, i64)>,
) -> Outcome {
    let Reservation { expires_at, uncovered, .. } = reservation;
    book.write(EntryBody {
        allocations,
        hold: Some(HoldTerms { expires_at, uncovered }),
        counted,
        ..EntryBody::new(EntryKind::Hold, reservation.cause(), book.now())
    });
    book.account.reservations.push(reservation.clone());
    book.effects.reservations.insert(reservation.id);
    Outcome::Reserved { reservation, standing: book.standing() }
}

/// Moves the end of an open reservation to now + `ttl`: never earlier than it was, never beyond 24 hours from its
/// start.
pub(super) fn extend(book: &mut Book<'_>, order: &Extend) -> Result<Outcome, Refusal> {
    let now = book.now();
    let asked = end_of(order.ttl_micros, now)?;
    let reservation = open_reservation(book.account, order.reservation_id)?;
    let latest = reservation.created_at.saturating_add_micros(TTL_MICROS_MAX);
    let expires_at = asked.min(latest).max(reservation.expires_at);
    reservation.expires_at = expires_at;
    let reservation = reservation.clone();
    let hold = hold_mut(book.account, reservation.id);
    hold.expires_at = expires_at;
    let uncovered = hold.uncovered;
    book.write(EntryBody {
        hold: Some(HoldTerms { expires_at, uncovered }),
        ..EntryBody::new(EntryKind::Extend, reservation.cause(), now)
    });
    book.effects.reservations.insert(reservation.id);
    Ok(Outcome::Reserved { reservation, standing: book.standing() })
}

/// Gives back all that an open reservation holds.
pub(super) fn release(book: &mut Book<'_>, id: ReservationId) -> Result<Outcome, Refusal> {
    open_reservation(book.account, id)?;
    let clawed_back = close(book, id, ReservationStatus::Released);
    book.after_return(clawed_back);
    let reservation = book.account.reservation(id).expect("the reservation was just closed").clone();
    Ok(Outcome::Reserved { reservation, standing: book.standing() })
}

/// Closes an open reservation and gives back what it holds; what claw-backs take of that. The caller lets the rest go
/// its way.
pub(super) fn close(book: &mut Book<'_>, id: ReservationId, status: ReservationStatus) -> Vec<Settlement> {
    let now = book.now();
    let wallet = &mut book.account.wallet;
    let index = wallet.holds.iter().position(|hold| hold.id == id).expect("an open reservation has its hold");
    let hold = wallet.holds.remove(index);
    let clawed_back = wallet.give_back(&hold);
    let allocations = given_back(wallet, &hold);
    let counted = uncounted(&hold);
    let reservation = book.account.reservation_mut(id).expect("the caller has seen the reservation");
    reservation.close(status, now);
    let cause = reservation.cause();
    book.effects.reservations.insert(id);
    // A commit that leaves nothing over is the end of it; its own entry says so.
    if status == ReservationStatus::Released || !allocations.is_empty() || counted.is_some() {
        book.write(EntryBody { allocations, counted, ..EntryBody::new(EntryKind::Release, cause, now) });
    }
    clawed_back
}

/// A reservation that is open.
pub(super) fn open_reservation(account: &mut Account, id: ReservationId) -> Result<&mut Reservation, Refusal> {
    // A lease is its holder's alone.
    let reservation = account.reservation_mut(id).filter(|own| own.lease.is_none());
    let reservation = reservation.ok_or(Refusal::ReservationUnknown(id))?;
    match reservation.status {
        ReservationStatus::Active => Ok(reservation),
        ReservationStatus::Committed => Err(Refusal::ReservationCommitted(id)),
        ReservationStatus::Released => Err(Refusal::ReservationReleased(id)),
        ReservationStatus::Expired => Err(Refusal::ReservationExpired(id)),
    }
}

/// The hold of an open reservation.
pub(super) fn hold_mut(account: &mut Account, id: ReservationId) -> &mut Hold {
    let hold = account.wallet.holds.iter_mut().find(|hold| hold.id == id);
    hold.expect("an open reservation has its hold")
}

fn end_of(ttl_micros: i64, now: Timestamp) -> Result<Timestamp, Refusal> {
    if !(MICROS_PER_SECOND..=TTL_MICROS_MAX).contains(&ttl_micros) {
        return Err(Refusal::TtlOutOfRange);
    }
    Ok(now.saturating_add_micros(ttl_micros))
}
