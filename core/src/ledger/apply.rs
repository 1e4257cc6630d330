//! [`apply`]: one command against one account. The only place where the ledger decides.
//!
//! A refused command leaves nothing but what time alone did. Source: docs/ledger.md.

use crate::catalogue::Catalogue;
use crate::ledger::account::Account;
use crate::ledger::book::{Book, Effects};
use crate::ledger::command::{Command, Outcome, Refusal, Request, UsageRecord};
use crate::ledger::event::EventKind;
use crate::ledger::{grant, usage};
use crate::subscription::create::subscribe;

/// Applies `request` to `account` at max(`request.now`, the account's time). `known` is the usage event recorded
/// under the request's key before, if any. Everything written is appended to `effects`.
pub fn apply(
    account: &mut Account,
    catalogue: &Catalogue,
    request: &Request,
    known: Option<&UsageRecord>,
    effects: &mut Effects,
) -> Result<Outcome, Refusal> {
    if let (Command::Usage(event), Some(record)) = (&request.command, known) {
        return if record.fingerprint == event.fingerprint() {
            Ok(Outcome::Used { record: record.clone(), replayed: true })
        } else {
            Err(Refusal::IdempotencyConflict)
        };
    }
    let is_new = account.version == 0 && account.seq == 0;
    let mut book = Book::open(account, request, effects);
    if is_new {
        book.announce(book.now(), EventKind::EndUserCreated {});
    }
    let decided = match &request.command {
        Command::Grant(order) => grant::grant(&mut book, order),
        Command::Usage(event) => usage::record(&mut book, catalogue, event),
        Command::Subscribe(order) => subscribe(&mut book, catalogue, order),
    };
    if is_new && decided.is_err() {
        // Nothing is due in an account without history, so this is all that was written.
        book.effects.events.pop();
    }
    book.close();
    let mut outcome = decided?;
    outcome.stamp_version(account.version);
    Ok(outcome)
}

impl Outcome {
    fn stamp_version(&mut self, account_version: u64) {
        match self {
            Self::Granted { version, .. } => *version = account_version,
            Self::Used { record, .. } => record.version = account_version,
            Self::Subscribed { .. } => {}
        }
    }
}
