//! The pure part of a batch, many histories a second: groups of any sizes decide what each account alone decides, and
//! leave nothing unwritten that they changed. Here accounts stay loaded; that what is needed is loaded again is what the
//! histories over Postgres show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, BlockId, EndUserId, KeyId, ReservationId, TopupId, VariantId, uuid_v7};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::entry::{Actor, Allocation, Entry};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::reservation::{Reservation, ReservationStatus};
use quotastack_core::ledger::topup::Topup;
use quotastack_core::subscription::machine::Happening;
use quotastack_server::app::decide::{Decisions, Submission, decide};
use quotastack_server::app::needs::Loaded;
use quotastack_server::store::requests::StoredRequest;
use quotastack_server::store::topups::reference_hash;
use quotastack_server::store::usage::key_hash;
use uuid::Uuid;

use super::deeds::{World, worlds};
use super::player::Player;
use super::setting::{features, start, variants};
use crate::histories::{Answer, History, compare_accounts, differ, in_groups};

proptest! {
    #[test]
    fn random_histories_decided_in_groups_come_to_what_each_comes_to_alone(world in worlds()) {
        run(&world).map_err(TestCaseError::fail)?;
    }
}

fn histories_of(world: &World) -> Vec<History> {
    let (catalogue, variants) = catalogue_of(world);
    let catalogue = Arc::new(catalogue);
    let actor = Actor::Key(KeyId::from_uuid(Uuid::nil()));
    let played = world.histories.iter().enumerate().map(|(number, deeds)| {
        let end_user_id = EndUserId::new(&format!("user-{number}")).unwrap();
        Player::new(end_user_id, Arc::clone(&catalogue), &variants, actor).play(deeds)
    });
    played.collect()
}

fn run(world: &World) -> Result<(), String> {
    let histories = histories_of(world);
    let mut kept = Kept::new(Arc::clone(&histories[0].catalogue));
    for group in in_groups(&histories, &world.sizes) {
        let sent = group.iter().map(|(history, place)| &histories[*history].sent[*place]);
        let commands: Vec<Submission> = sent.clone().map(|sent| sent.submission.clone()).collect();
        let decisions = decide(kept.loaded(), &commands);
        for (sent, decided) in sent.zip(&decisions.results) {
            let what = format!("{:?}", sent.submission.request);
            differ(&what, &Answer::try_from(decided.clone())?, &sent.answer)?;
        }
        kept.keep(&decisions);
    }
    histories.iter().try_for_each(|history| kept.compare(history))
}

/// Histories that never came to what must be loaded again would show nothing of it.
#[test]
fn histories_come_to_everything_that_is_not_loaded_with_an_account() {
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..256 {
        let world = worlds().new_tree(&mut runner).unwrap().current();
        let histories = histories_of(&world);
        for group in in_groups(&histories, &world.sizes) {
            let mut named = BTreeSet::new();
            for (history, place) in group {
                // The first command of an account in its group finds the account as it is stored.
                if named.insert(history) && place > 0 {
                    note(&histories[history], place, &mut |name| *seen.entry(name).or_default() += 1);
                }
            }
        }
    }
    for name in [
        "late usage of an expired block",
        "void into a block that has nothing left",
        "void of what settled a debt",
        "repeated void",
        "repeated usage",
        "repeated request",
        "another request under the same key",
        "late commit",
        "commit of a reservation that is over",
        "repeated payment",
        "refund of what was spent",
        "adjustment of a block that has nothing left",
    ] {
        let times = seen.get(name).copied().unwrap_or_default();
        assert!(times >= 5, "{name}: {times} times: {seen:?}");
    }
}

/// Each history is one of those above.
#[test]
fn histories_come_to_all_that_can_happen_to_a_subscription() {
    let mut runner =
        TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for _ in 0..1_000 {
        let world = worlds().new_tree(&mut runner).unwrap().current();
        for history in histories_of(&world) {
            seen.extend(history.alone.effects.events.iter().filter_map(|event| match &event.kind {
                EventKind::SubscriptionUpdated { happening, .. }
                | EventKind::SubscriptionCanceled { happening, .. }
                | EventKind::SubscriptionExpired { happening, .. } => Some(format!("{happening:?}")),
                _ => None,
            }));
        }
    }
    let all = Happening::ALL.map(|happening| format!("{happening:?}"));
    let missing: Vec<_> = all.into_iter().filter(|happening| !seen.contains(happening)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

fn note(history: &History, place: usize, seen: &mut impl FnMut(&'static str)) {
    let (before, sent) = (&history.sent[place - 1].after, &history.sent[place]);
    let is_used_up = |id: BlockId| before.block(id).is_some_and(|block| block.lot.remaining.is_zero());
    let mut seen_if = |happened: bool, name| {
        if happened {
            seen(name);
        }
    };
    let command = &sent.submission.request.command;
    match (command, &sent.answer) {
        (_, Answer::Done { outcome: Outcome::Voided { replayed: true, .. }, .. }) => seen_if(true, "repeated void"),
        (_, Answer::Done { outcome: Outcome::ToppedUp { replayed: true, .. }, .. }) => {
            seen_if(true, "repeated payment");
        }
        (_, Answer::Done { replayed: true, .. }) if sent.submission.identity.is_some() => {
            seen_if(true, "repeated request");
        }
        (_, Answer::KeyReused) => seen_if(true, "another request under the same key"),
        (_, Answer::Done { outcome: Outcome::Used { record, replayed }, .. }) => {
            let revived = |part: &Allocation| {
                let block = before.block(part.block_id);
                block.is_some_and(|block| block.expired.is_positive() && block.lot.remaining.is_zero())
            };
            seen_if(*replayed, "repeated usage");
            seen_if(!replayed && record.allocations.iter().any(revived), "late usage of an expired block");
        }
        (Command::Void(order), Answer::Done { outcome: Outcome::Voided { record, .. }, .. }) => {
            let owed_and_settled = before.settled != sent.after.settled && record.returned.is_positive();
            seen_if(owed_and_settled, "void of what settled a debt");
            let event = history.alone.events.iter().find(|event| event.id == order.usage_id).unwrap();
            let into_used_up = event.allocations.iter().any(|part| is_used_up(part.block_id));
            seen_if(into_used_up, "void into a block that has nothing left");
        }
        (Command::Commit(_), Answer::Done { outcome: Outcome::Committed { reservation, .. }, .. }) => {
            seen_if(reservation.status == ReservationStatus::Expired, "late commit");
        }
        (Command::Commit(_), Answer::Refused(_)) => seen_if(true, "commit of a reservation that is over"),
        (_, Answer::Done { outcome: Outcome::Refunded { owed, .. }, .. }) => {
            seen_if(owed.is_positive(), "refund of what was spent");
        }
        (Command::Adjust(order), _) => {
            seen_if(order.block_id.is_some_and(is_used_up), "adjustment of a block that has nothing left");
        }
        _ => {}
    }
}

fn catalogue_of(world: &World) -> (Catalogue, Vec<VariantId>) {
    let mut built = Catalogue { version: 1, ..Catalogue::default() };
    built.features.extend(features(&world.features));
    let mut ids = Vec::new();
    for (number, variant) in (0..).zip(variants()) {
        let id = VariantId::from_uuid(uuid_v7(start(), [number; 10], None));
        built.variants.insert((id, 1), variant);
        ids.push(id);
    }
    (built, ids)
}

/// What the groups so far have left: accounts as they were loaded and changed, and rows as they were written.
struct Kept {
    loaded: Loaded,
    entries: HashMap<AccountId, Vec<Entry>>,
    blocks: BTreeMap<BlockId, Block>,
    reservations: BTreeMap<ReservationId, Reservation>,
    topups: BTreeMap<TopupId, Topup>,
}

impl Kept {
    fn new(catalogue: Arc<Catalogue>) -> Self {
        let loaded = Loaded {
            catalogue,
            feed_seq: 0,
            last_now: start(),
            accounts: HashMap::new(),
            known_usage: HashMap::new(),
            named_usage: HashMap::new(),
            voids: HashMap::new(),
            topups: HashMap::new(),
            requests: HashMap::new(),
        };
        let (entries, blocks) = (HashMap::new(), BTreeMap::new());
        Self { loaded, entries, blocks, reservations: BTreeMap::new(), topups: BTreeMap::new() }
    }

    fn loaded(&self) -> Loaded {
        let Loaded { catalogue, feed_seq, last_now, accounts, known_usage, named_usage, voids, topups, requests } =
            &self.loaded;
        Loaded {
            catalogue: Arc::clone(catalogue),
            feed_seq: *feed_seq,
            last_now: *last_now,
            accounts: accounts.clone(),
            known_usage: known_usage.clone(),
            named_usage: named_usage.clone(),
            voids: voids.clone(),
            topups: topups.clone(),
            requests: requests.clone(),
        }
    }

    fn keep(&mut self, decisions: &Decisions) {
        if decisions.is_empty() {
            return;
        }
        let loaded = &mut self.loaded;
        (loaded.feed_seq, loaded.last_now) = (decisions.feed_seq, decisions.now);
        let batch = decisions.batch();
        let changed = batch.changed_accounts.into_iter().map(|(account, stamp, _)| (account, stamp));
        for (account, stamp) in batch.made_accounts.into_iter().chain(changed) {
            loaded.accounts.insert(account.end_user_id.clone(), (account.clone(), stamp));
        }
        for (account, _, record) in batch.usage {
            loaded.known_usage.insert((account, key_hash(&record.key)), record.clone());
            loaded.named_usage.insert(record.id, (account, record.clone()));
        }
        loaded.voids.extend(batch.voids.into_iter().map(|(.., void)| (void.usage_id, void.clone())));
        for (account, topup) in batch.topups {
            loaded.topups.insert((account, reference_hash(&topup.payment_reference)), topup.clone());
            self.topups.insert(topup.id, topup.clone());
        }
        for request in batch.requests {
            let (request_hash, seed, outcome) = (request.request_hash, request.seed, request.outcome.clone());
            loaded.requests.insert(request.key_hash, StoredRequest { request_hash, seed, outcome });
        }
        for (account, entry) in batch.entries {
            self.entries.entry(account).or_default().push(entry.clone());
        }
        self.blocks.extend(batch.made_blocks.into_iter().map(|(_, block, ..)| (block.id, block.clone())));
        self.blocks.extend(batch.changed_blocks.into_iter().map(|(_, block, _)| (block.id, block.clone())));
        self.reservations.extend(batch.reservations.into_iter().map(|(_, one)| (one.id, one.clone())));
    }

    fn compare(&self, history: &History) -> Result<(), String> {
        let Some((account, _)) = self.loaded.accounts.get(&history.end_user_id) else {
            return differ("entries of an account that was not written", &history.alone.effects.entries, &Vec::new());
        };
        let alone = history.replay(account.id);
        differ("entries", self.entries.get(&account.id).unwrap_or(&Vec::new()), &alone.effects.entries)?;
        compare_accounts(account, &alone, &history.catalogue)?;
        self.compare_rows(account)?;
        let rows: Vec<Option<&Topup>> = alone.topups.iter().map(|topup| self.topups.get(&topup.id)).collect();
        differ("rows of top-ups", &rows, &alone.topups.iter().map(Some).collect())
    }

    fn compare_rows(&self, account: &Account) -> Result<(), String> {
        let lots = &account.wallet.lots;
        let rows: Vec<Option<&Block>> = lots.iter().map(|block| self.blocks.get(&block.id)).collect();
        differ("rows of blocks", &rows, &lots.iter().map(Some).collect())?;
        let own = &account.reservations;
        let rows: Vec<Option<&Reservation>> = own.iter().map(|one| self.reservations.get(&one.id)).collect();
        differ("rows of reservations", &rows, &own.iter().map(Some).collect())
    }
}
