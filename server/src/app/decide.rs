//! The pure part of a batch: from what was loaded and the commands to what must be written and answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, BlockId, EndUserId, IdempotencyKey, uuid_v7};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Request};
use quotastack_core::ledger::entry::Entry;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord, VoidRecord};
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::topup::Topup;
use quotastack_core::state::AccountState;
use quotastack_core::subscription::Subscription;
use quotastack_core::time::Timestamp;

use crate::app::idempotency::RequestIdentity;
use crate::app::needs::Loaded;
use crate::store::accounts::BlockNotes;
use crate::store::batch::{Batch, NewRequest};
use crate::store::lanes::LanePlace;
use crate::store::requests::StoredRequest;
use crate::store::topups::reference_hash;
use crate::store::usage::key_hash;

/// A command on its way to a lane's writer.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose account.
    pub end_user_id: EndUserId,
    /// The command; its `now` is the real time of its arrival.
    pub request: Request,
    /// What makes a repeat the same request; usage is its own identity and has none.
    pub identity: Option<RequestIdentity>,
    /// What people attach to the block that is granted.
    pub notes: Option<BlockNotes>,
}

/// What came of one command.
#[derive(Debug, Clone)]
pub enum Decided {
    /// Carried out, now or (`replayed`) by an earlier request with the same key.
    Done {
        /// What came of it.
        outcome: Box<Outcome>,
        /// Whether an earlier request did it.
        replayed: bool,
    },
    /// The rules refuse it.
    Refused(Refusal),
    /// Its key belongs to a request with another body.
    KeyReused,
    /// It alone makes the transaction fail; nothing was done.
    Failed,
    /// Nothing was done, and it may succeed later.
    Postponed,
}

/// What a batch comes to.
#[derive(Debug)]
pub struct Decisions {
    /// One per command, in order.
    pub results: Vec<Decided>,
    /// The lane's new place in the feed.
    pub feed_seq: u64,
    /// The lane's new last instant.
    pub now: Timestamp,
    accounts: HashMap<EndUserId, (Account, u64)>,
    /// The accounts that were there before.
    before: HashMap<AccountId, Before>,
    /// Whom a worker found to be due: when they are next due is noted in any case, also where nothing was written.
    advanced: BTreeSet<EndUserId>,
    changed: BTreeMap<u64, (EndUserId, Effects)>,
    usage: Vec<(AccountId, UsageRecord)>,
    voids: Vec<(AccountId, VoidRecord)>,
    notes: HashMap<BlockId, BlockNotes>,
    requests: Vec<(RequestIdentity, [u8; 16], Outcome)>,
}

/// What of an account must be known as it was read.
#[derive(Debug, Clone, Copy)]
struct Before {
    version: u64,
    /// When time alone was next to change it.
    next_due: Option<Timestamp>,
}

impl Before {
    fn of(account: &Account) -> Self {
        Self { version: account.version, next_due: account.next_due() }
    }
}

/// Runs the commands in order.
pub fn decide(mut loaded: Loaded, commands: &[Submission]) -> Decisions {
    let before = loaded.accounts.values().map(|(account, _)| (account.id, Before::of(account))).collect();
    let mut decisions = Decisions {
        results: Vec::with_capacity(commands.len()),
        feed_seq: loaded.feed_seq,
        now: loaded.last_now,
        accounts: std::mem::take(&mut loaded.accounts),
        before,
        advanced: BTreeSet::new(),
        changed: BTreeMap::new(),
        usage: Vec::new(),
        voids: Vec::new(),
        notes: HashMap::new(),
        requests: Vec::new(),
    };
    for submission in commands {
        let decided = decisions.decide_one(&mut loaded, submission);
        decisions.results.push(decided);
    }
    decisions
}

impl Decisions {
    fn decide_one(&mut self, loaded: &mut Loaded, submission: &Submission) -> Decided {
        let seed = submission.request.seed;
        if let Some(identity) = submission.identity
            && let Some(before) = loaded.requests.get(&identity.key_hash)
        {
            if before.request_hash != identity.request_hash {
                return Decided::KeyReused;
            }
            // The same seed: an earlier run of this very request, whose commit went unanswered.
            return Decided::Done { outcome: Box::new(before.outcome.clone()), replayed: before.seed != seed };
        }
        self.now = self.now.max(loaded.catalogue.clock.at(submission.request.now));
        let request = Request { now: self.now, ..submission.request.clone() };
        let end_user_id = &submission.end_user_id;
        let (mut account, stamp) = self
            .accounts
            .remove(end_user_id)
            .unwrap_or_else(|| (Account::new(new_account_id(&request, end_user_id), end_user_id.clone()), 0));
        let known = known(loaded, &self.usage, account.id, &request.command);
        let stamped_in_batch = stamp > loaded.feed_seq;
        let mut fresh = Effects::default();
        let effects = match self.changed.get_mut(&stamp).filter(|_| stamped_in_batch) {
            Some((_, effects)) => effects,
            None => &mut fresh,
        };
        let outcome = apply(&mut account, &loaded.catalogue, &request, known, effects);
        let mut stamp = stamp;
        if !fresh.is_empty() {
            self.feed_seq += 1;
            stamp = self.feed_seq;
            self.changed.insert(stamp, (end_user_id.clone(), fresh));
        }
        let account_id = account.id;
        if stamp > 0 {
            if request.command == Command::Advance {
                self.advanced.insert(end_user_id.clone());
            }
            self.accounts.insert(end_user_id.clone(), (account, stamp));
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => return Decided::Refused(refusal),
        };
        self.note(loaded, account_id, &outcome, submission);
        let replayed = is_replay(&request.command, &outcome);
        if let Some(identity) = submission.identity {
            let stored = StoredRequest { request_hash: identity.request_hash, seed, outcome: outcome.clone() };
            loaded.requests.insert(identity.key_hash, stored);
            self.requests.push((identity, seed, outcome.clone()));
        }
        Decided::Done { outcome: Box::new(outcome), replayed }
    }

    /// Keeps what must be stored of an outcome beside what it did to the account, and what later commands of the batch
    /// may find.
    fn note(&mut self, loaded: &mut Loaded, account: AccountId, outcome: &Outcome, submission: &Submission) {
        match outcome {
            Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. } => {
                loaded.known_usage.insert((account, key_hash(&record.key)), record.clone());
                self.usage.push((account, record.clone()));
            }
            Outcome::Voided { record, replayed: false } => {
                loaded.voids.insert(record.usage_id, record.clone());
                self.voids.push((account, record.clone()));
            }
            Outcome::ToppedUp { topup, .. } | Outcome::Refunded { topup, .. } => {
                loaded.topups.insert((account, reference_hash(&topup.payment_reference)), topup.clone());
            }
            _ => {}
        }
        let made = match outcome {
            Outcome::Granted { block, .. } | Outcome::Adjusted { block, .. } => block.as_ref(),
            Outcome::ToppedUp { block, replayed: false, .. } => block.as_ref(),
            _ => None,
        };
        if let Some((block, notes)) = made.zip(submission.notes.as_ref()) {
            self.notes.insert(block.id, notes.clone());
        }
    }

    /// Whether there is anything to write.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.requests.is_empty() && self.advanced.is_empty()
    }

    /// What must be written.
    pub fn batch(&self) -> Batch<'_> {
        let mut batch = Batch { feed_seq: self.feed_seq, ..Batch::default() };
        let due_now = |end_user_id: &EndUserId| {
            let (account, _) = &self.accounts[end_user_id];
            (account.id, account.next_due())
        };
        let mut due: BTreeMap<_, _> = self.advanced.iter().map(due_now).collect();
        for (stamp, (end_user_id, effects)) in &self.changed {
            let (account, _) = &self.accounts[end_user_id];
            let (id, next_due) = due_now(end_user_id);
            let before = self.before.get(&id);
            match before {
                Some(before) => batch.changed_accounts.push((account, *stamp, before.version)),
                None => batch.made_accounts.push((account, *stamp)),
            }
            if next_due != before.and_then(|before| before.next_due) {
                due.insert(id, next_due);
            }
            // A block is made by an entry, so one with an earlier entry was there before.
            let first_seq = effects.entries.first().map_or(u64::MAX, |entry| entry.seq);
            for block in account.wallet.lots.iter().filter(|block| effects.blocks.contains(&block.id)) {
                let is_live = block.is_live(account.wallet.time);
                if block.granted.0 >= first_seq {
                    batch.made_blocks.push((account.id, block, self.notes.get(&block.id), is_live));
                } else {
                    batch.changed_blocks.push((account.id, block, is_live));
                }
            }
            batch.entries.extend(effects.entries.iter().map(|entry| (account.id, entry)));
            let reasons = effects.reasons.iter().map(|(seq, reason)| (account.id, *seq, reason.as_str()));
            batch.reasons.extend(reasons);
            let reservations = account.reservations.iter().filter(|own| effects.reservations.contains(&own.id));
            batch.reservations.extend(reservations.map(|reservation| (account, reservation)));
            let last_topups: BTreeMap<_, &Topup> = effects.topups.iter().map(|topup| (topup.id, topup)).collect();
            batch.topups.extend(last_topups.into_values().map(|topup| (account.id, topup)));
            let last_states: BTreeMap<_, &Subscription> =
                effects.subscriptions.iter().map(|subscription| (subscription.id, subscription)).collect();
            batch.subscriptions.extend(last_states.into_values().map(|subscription| (account.id, subscription)));
            batch.events.extend((0..).zip(&effects.events).map(|(place, event)| (account.id, *stamp, place, event)));
        }
        batch.due = due.into_iter().collect();
        let made = batch.made_accounts.iter().map(|(account, stamp)| (account.id, *stamp));
        let changed = batch.changed_accounts.iter().map(|(account, stamp, _)| (account.id, *stamp));
        let stamps: HashMap<AccountId, u64> = made.chain(changed).collect();
        batch.usage = self.usage.iter().map(|(account, record)| (*account, stamps[account], record)).collect();
        batch.voids = self.voids.iter().map(|(account, record)| (*account, stamps[account], record)).collect();
        batch.requests = self
            .requests
            .iter()
            .map(|(identity, seed, outcome)| NewRequest {
                key_hash: identity.key_hash,
                request_hash: identity.request_hash,
                seed: *seed,
                outcome,
            })
            .collect();
        batch
    }

    /// An account as the commands leave it.
    pub fn account(&self, end_user_id: &EndUserId) -> Option<&Account> {
        self.accounts.get(end_user_id).map(|(account, _)| account)
    }

    /// What the commands write for an end user.
    pub fn entries(&self, end_user_id: &EndUserId) -> &[Entry] {
        let theirs = self.changed.values().find(|(owner, _)| owner == end_user_id);
        theirs.map_or(&[], |(_, effects)| &effects.entries)
    }

    /// The accounts that were written, each with its new stamp; they are not here any more.
    pub fn take_written(&mut self) -> Vec<(Account, u64)> {
        let written = self.changed.values().filter_map(|(end_user_id, _)| self.accounts.remove(end_user_id));
        written.collect()
    }

    /// Where the lane stands with them.
    pub const fn place(&self) -> LanePlace {
        LanePlace { feed_seq: self.feed_seq, last_now: self.now }
    }

    /// The states of all accounts that the batch named and that exist, as of its commit.
    pub fn states(&self, catalogue: &Catalogue) -> HashMap<EndUserId, Arc<AccountState>> {
        let states = self.accounts.iter().map(|(end_user_id, (account, stamp))| {
            (end_user_id.clone(), Arc::new(AccountState::publish(account, *stamp, catalogue)))
        });
        states.collect()
    }
}

/// What was recorded before under the identity that a command names, also earlier in this batch.
fn known<'a>(
    loaded: &'a Loaded,
    in_batch: &'a [(AccountId, UsageRecord)],
    account: AccountId,
    command: &Command,
) -> Known<'a> {
    let by_key = |key: &IdempotencyKey| loaded.known_usage.get(&(account, key_hash(key)));
    match command {
        Command::Usage(usage) | Command::Consume(usage) => Known { usage: by_key(&usage.key), ..Known::default() },
        Command::Void(void) => {
            let stored = loaded.named_usage.get(&void.usage_id);
            let in_batch = || in_batch.iter().find(|(_, record)| record.id == void.usage_id);
            let named = stored.or_else(in_batch).filter(|(owner, _)| *owner == account);
            Known {
                usage: named.map(|(_, record)| record),
                void: loaded.voids.get(&void.usage_id).filter(|_| named.is_some()),
                topup: None,
            }
        }
        Command::TopUp(order) => {
            let key = (account, reference_hash(&order.payment_reference));
            Known { topup: loaded.topups.get(&key), ..Known::default() }
        }
        _ => Known::default(),
    }
}

/// Whether an earlier request did what this command asks for; an earlier run of this very command did not.
fn is_replay(command: &Command, outcome: &Outcome) -> bool {
    match (command, outcome) {
        (Command::Usage(usage) | Command::Consume(usage), Outcome::Used { record, replayed }) => {
            *replayed && usage.id != record.id
        }
        (Command::TopUp(order), Outcome::ToppedUp { topup, replayed, .. }) => *replayed && order.id != topup.id,
        (_, Outcome::Voided { replayed, .. }) => *replayed,
        _ => false,
    }
}

/// The id of an account that a command creates: the same at every run of it.
fn new_account_id(request: &Request, end_user_id: &EndUserId) -> AccountId {
    let mut random = [0; 10];
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"account").update(&request.seed);
    random.copy_from_slice(&hasher.finalize().as_bytes()[..10]);
    AccountId::from_uuid(uuid_v7(request.now, random, Some(end_user_id.bucket())))
}
