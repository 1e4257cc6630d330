//! Commits: what a reservation holds becomes usage. Source: docs/ledger.md, "Reservations".
//!
//! A reservation is one event: each commit costs the price of all units so far, less what was committed before. None
//! of it depends on plan or subscription: the reservation was priced when it was made.

use crate::catalogue::{Catalogue, OveragePolicy};
use crate::credits::{Credits, Units};
use crate::ids::IdempotencyKey;
use crate::ledger::block::Block;
use crate::ledger::book::Book;
use crate::ledger::command::{Commit, OverCommit, Usage};
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind, HoldTerms};
use crate::ledger::hold::HeldPart;
use crate::ledger::outcome::{Outcome, UsageRecord};
use crate::ledger::refusal::Refusal;
use crate::ledger::reservation::{Reservation, ReservationStatus};
use crate::ledger::reserve::{close, hold_mut, open_reservation};
use crate::ledger::usage;
use crate::ledger::usage::check_overdraft;
use crate::ledger::wallet::Wallet;

/// What a commit takes, and where from.
struct Charge {
    cost: Credits,
    from_hold: Credits,
    drawn: Credits,
    owed: Credits,
}

/// Commits `order`.
pub(super) fn commit(book: &mut Book<'_>, catalogue: &Catalogue, order: &Commit) -> Result<Outcome, Refusal> {
    let id = order.reservation_id;
    let reservation = match open_reservation(book.account, id) {
        Err(Refusal::ReservationExpired(_)) if order.debit_late => return debit_late(book, catalogue, order),
        other => other?.clone(),
    };
    let charge = decide(book, &reservation, order)?;
    let record = take(book, &reservation, order, &charge)?;
    let clawed_back = if order.is_final {
        close(book, id, ReservationStatus::Committed)
    } else {
        book.note_hold(id);
        Vec::new()
    };
    // The rest is free now; and credit that came after the reserve pays what it could not cover.
    book.after_return(clawed_back);
    let reservation = book.account.reservation(id).expect("the reservation was just committed").clone();
    let record = UsageRecord { totals: book.account.totals, ..record };
    Ok(Outcome::Committed { reservation, record })
}

fn decide(book: &mut Book<'_>, reservation: &Reservation, order: &Commit) -> Result<Charge, Refusal> {
    let cost = reservation.cost_of_commit(order.units)?;
    let wallet = &book.account.wallet;
    let Reservation { held, uncovered, feature_key, .. } = reservation;
    let from_hold = cost.min(*held);
    let above = cost - from_hold;
    let reserved = *held + *uncovered;
    let (drawn, owed) = match order.over_commit {
        OverCommit::Reject if cost > reserved => return Err(Refusal::OverCommit { cost, reserved }),
        // What could not be held is drawn or owed as it was reserved; nothing else.
        OverCommit::Cap => {
            let drawn = above.min(*uncovered).min(wallet.spendable(feature_key));
            (drawn, above.min(*uncovered) - drawn)
        }
        OverCommit::Reject | OverCommit::Draw => {
            let drawn = above.min(wallet.spendable(feature_key));
            let short = above - drawn;
            match reservation.quote.overage_policy {
                _ if short.is_zero() => (drawn, Credits::ZERO),
                OveragePolicy::Block => {
                    let spendable = *held + wallet.spendable(feature_key);
                    return Err(Refusal::InsufficientCredits { cost, spendable });
                }
                OveragePolicy::Cap => (drawn, Credits::ZERO),
                OveragePolicy::Overdraft | OveragePolicy::Notify => (drawn, short),
            }
        }
    };
    if owed.is_positive() {
        check_overdraft(wallet, feature_key, owed, *uncovered, reservation.quote.overdraft_limit)?;
    }
    Ok(Charge { cost, from_hold, drawn, owed })
}

fn take(
    book: &mut Book<'_>,
    reservation: &Reservation,
    order: &Commit,
    charge: &Charge,
) -> Result<UsageRecord, Refusal> {
    let Charge { cost, from_hold, drawn, owed } = *charge;
    let (charged, above) = (from_hold + drawn + owed, drawn + owed);
    // Units up to the estimate were counted by the reserve; only those beyond it are new.
    let counted = hold_mut(book.account, reservation.id).counted.as_ref().map_or(0, |(_, units)| units.get());
    let kept = counted.min(order.units.get());
    let beyond = Units::new(order.units.get() - kept).expect("a part of the units");
    if let Some(key) = &reservation.quote.counter {
        book.account.wallet.counters.check_room_for(key, beyond)?;
    }
    let committed_cost = reservation.committed_cost.checked_add(charged)?;
    let Reservation { id, feature_key, quote, created_at, .. } = reservation;

    let drawn = book.account.wallet.burn(feature_key, drawn, book.now());
    let hold = hold_mut(book.account, *id);
    let from_hold = hold.take(from_hold);
    hold.uncovered -= above.min(hold.uncovered);
    if let Some((_, units)) = &mut hold.counted {
        *units = Units::new(units.get() - kept).expect("a part of what was counted");
    }
    hold.counted.take_if(|(_, units)| units.get() == 0);
    let still_open = HoldTerms { expires_at: hold.expires_at, uncovered: hold.uncovered };
    let counted = quote.counter.clone().map(|key| (key, beyond.get())).filter(|(_, units)| *units != 0);
    let wallet = &mut book.account.wallet;
    if let Some((key, units)) = &counted {
        wallet.counters.add(key, *units);
    }
    let (mut paid, mut changes) = pay_from_hold(wallet, from_hold);
    let drawn = usage::parts_of(wallet, &drawn);
    changes.extend(usage::negated(&drawn));
    paid.extend(drawn);
    let cause =
        Cause::Commit { id: order.usage_id, reservation_id: *id, feature_key: feature_key.clone(), units: order.units };
    let seq = book.write(EntryBody {
        amount: owed - charged,
        allocations: changes,
        hold: (!order.is_final).then_some(still_open),
        counted,
        ..EntryBody::new(EntryKind::Commit, cause.clone(), *created_at)
    });
    let notify = quote.overage_policy == OveragePolicy::Notify;
    book.owe(EntryBody::debt(DebtOf::Feature(feature_key.clone()), owed, cause, *created_at), notify);
    book.account.lifetime_consumed = (book.account.lifetime_consumed + charged).min(Credits::MAX);
    let reservation = book.account.reservation_mut(*id).expect("the reservation is open");
    let units = reservation.committed_units.get() + order.units.get();
    reservation.committed_units = Units::new(units).expect("the price of all units was found");
    reservation.committed_cost = committed_cost;
    let record = UsageRecord {
        id: order.usage_id,
        key: own_key(order),
        fingerprint: [0; 16],
        feature_key: feature_key.clone(),
        units: order.units,
        properties: reservation.properties.clone(),
        cost,
        charged,
        owed,
        priced_by: quote.priced_by,
        counter: quote.counter.clone(),
        reservation_id: Some(*id),
        effective_at: *created_at,
        recorded_at: book.now(),
        seq,
        totals: book.account.totals,
        version: 0,
        allocations: paid,
    };
    book.account.tallies.count(&record);
    Ok(record)
}

/// What was taken off a hold leaves its blocks: what paid, per block, and how the blocks changed.
pub(super) fn pay_from_hold(wallet: &mut Wallet<Block>, parts: Vec<HeldPart>) -> (Vec<Allocation>, Vec<Allocation>) {
    let pay = |HeldPart { lot, amount }| {
        let block = &mut wallet.lots[lot];
        block.lot.remaining -= amount;
        block.lot.held -= amount;
        (Allocation::of(block.id, amount), Allocation { held: -amount, ..Allocation::of(block.id, -amount) })
    };
    parts.into_iter().map(pay).unzip()
}

/// A commit after the reservation's end, as ordinary usage linked to it. A final one is the last, as it is in time: a
/// repeat without a key would charge the same work twice.
fn debit_late(book: &mut Book<'_>, catalogue: &Catalogue, order: &Commit) -> Result<Outcome, Refusal> {
    let reservation = book.account.reservation(order.reservation_id).expect("the reservation has expired").clone();
    let usage = Usage {
        id: order.usage_id,
        key: own_key(order),
        feature_key: reservation.feature_key.clone(),
        units: order.units,
        properties: reservation.properties.clone(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
        leased: None,
    };
    let record = usage::charge(book, catalogue, &usage, Some(reservation.id))?;
    let units = reservation.committed_units.get().saturating_add(order.units.get());
    let own = book.account.reservation_mut(reservation.id).expect("the reservation has expired");
    own.committed_units = Units::new(units).unwrap_or(Units::MAX);
    own.committed_cost = (own.committed_cost + record.charged).min(Credits::MAX);
    if order.is_final {
        own.status = ReservationStatus::Committed;
    }
    let reservation = own.clone();
    book.effects.reservations.insert(reservation.id);
    Ok(Outcome::Committed { reservation, record })
}

/// The key of the usage that a commit records: a repeat of the commit is known by its request.
fn own_key(order: &Commit) -> IdempotencyKey {
    IdempotencyKey::new(&order.usage_id.to_string()).expect("an id is an idempotency key")
}
