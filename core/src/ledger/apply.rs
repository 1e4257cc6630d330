//! [`apply`]: one command against one account. The only place where the ledger decides.
//!
//! A refused command leaves nothing but what time alone did. Source: docs/ledger.md.

use crate::catalogue::Catalogue;
use crate::ledger::account::Account;
use crate::ledger::book::{Book, Effects};
use crate::ledger::command::{Command, Request};
use crate::ledger::event::EventKind;
use crate::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use crate::ledger::refusal::Refusal;
use crate::ledger::topup::Topup;
use crate::ledger::{commit, correct, grant, lease, overrides, reserve, topup, usage, void};
use crate::subscription::{act, subscribe};

/// What was recorded before under the identities that a command names.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The usage event with its key, or that it names.
    pub usage: Option<&'a UsageRecord>,
    /// The void of the event that it names.
    pub void: Option<&'a VoidRecord>,
    /// The top-up with its payment reference.
    pub topup: Option<&'a Topup>,
}

/// Applies `request` to `account` at max(`request.now`, the account's time). The account holds the blocks,
/// reservations and top-ups that the command names. Everything written is appended to `effects`.
pub fn apply(
    account: &mut Account,
    catalogue: &Catalogue,
    request: &Request,
    known: Known<'_>,
    effects: &mut Effects,
) -> Result<Outcome, Refusal> {
    if let (Some(event), Some(record)) = (request.command.usage(), known.usage) {
        return if record.fingerprint == event.fingerprint() {
            Ok(Outcome::Used { record: record.clone(), replayed: true })
        } else {
            Err(Refusal::IdempotencyConflict)
        };
    }
    let is_new = account.version == 0 && account.seq == 0;
    let mut book = Book::open(account, catalogue, request, effects);
    if is_new {
        book.announce(book.now(), EventKind::EndUserCreated {});
    }
    let decided = match &request.command {
        Command::Grant(order) => grant::grant(&mut book, order),
        Command::Usage(event) => usage::record(&mut book, catalogue, event),
        Command::Consume(event) => usage::consume(&mut book, catalogue, event),
        Command::Void(order) => void::void(&mut book, order, known.usage, known.void),
        Command::Reserve(order) => reserve::reserve(&mut book, catalogue, order),
        Command::Commit(order) => commit::commit(&mut book, catalogue, order),
        Command::Release(id) => reserve::release(&mut book, *id),
        Command::Extend(order) => reserve::extend(&mut book, order),
        Command::OpenLease(order) => lease::open(&mut book, catalogue, order),
        Command::ReturnLease(order) => lease::give_back(&mut book, order),
        Command::Adjust(order) => correct::adjust(&mut book, order),
        Command::VoidBlock(order) => correct::void_block(&mut book, order),
        Command::TopUp(order) => topup::top_up(&mut book, order, known.topup),
        Command::Refund(order) => topup::refund(&mut book, order),
        Command::Subscribe(order) => subscribe(&mut book, order),
        Command::Subscription(order) => act(&mut book, order),
        Command::SetOverride(terms) => overrides::set(&mut book, catalogue, terms),
        Command::RemoveOverride(feature_key) => overrides::remove(&mut book, feature_key),
        Command::Advance => Ok(Outcome::Advanced {}),
    };
    if is_new && book.wrote_nothing_else() {
        // Nothing is due in an account without history, so the announcement is all that was written.
        book.effects.events.pop();
    }
    book.close();
    let mut outcome = decided?;
    outcome.stamp_version(account.version);
    Ok(outcome)
}
