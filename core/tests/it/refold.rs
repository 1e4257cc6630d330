//! What a verifier finds: each kind of tampering shows as a difference at the first bad entry.

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::credits::Credits;
use quotastack_core::ids::AccountId;
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::command::Grant;
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{Entry, Hash};
use quotastack_core::ledger::refold::{Difference, Fault, Refold};

use crate::support::{Story, at, catalogue, credits, grant, metered, usage};

/// Entries 1 grant 10, 2 grant 0 (scheduled 20), 3 usage -10, 4 debt -5, 5 start +20, 6 settled, 7 usage -1.
fn story() -> Story {
    let mut story = Story::new(catalogue([("f", metered(OveragePolicy::Overdraft, None))]));
    story.apply(at(0), Grant { priority: 1, ..grant(10) }).unwrap();
    story.apply(at(0), Grant { effective_at: Some(at(60)), expires_at: Some(at(120)), ..grant(20) }).unwrap();
    story.apply(at(1), usage("u", "f", 15)).unwrap();
    story.apply(at(61), usage("v", "f", 1)).unwrap();
    assert_eq!(story.effects.entries.len(), 7);
    story
}

/// Makes the chain whole again, as someone with access to the database could.
fn rehash(account: AccountId, entries: &mut [Entry]) {
    let (mut hash, mut balance) = (Hash::ZERO, Credits::ZERO);
    for (seq, entry) in (1..).zip(entries) {
        balance += entry.body.amount;
        (entry.seq, entry.prev_hash, entry.balance_after) = (seq, hash, balance);
        entry.hash = entry.computed_hash(account);
        hash = entry.hash;
    }
}

fn found(account: &Account, entries: &[Entry]) -> Result<(), Difference> {
    let mut refold = Refold::new(account.id);
    entries.iter().try_for_each(|entry| refold.push(entry))?;
    refold.compare(account)
}

#[test]
fn a_chain_without_a_link_or_with_another_content_is_broken() {
    let story = story();
    let entries = &story.effects.entries;
    assert_eq!(found(&story.account, entries), Ok(()));

    let mut missing = entries.clone();
    missing.remove(2);
    assert_eq!(found(&story.account, &missing), Err(Difference { seq: 4, fault: Fault::Chain }));
    let mut edited = entries.clone();
    edited[2].body.amount = credits(-9);
    assert_eq!(found(&story.account, &edited), Err(Difference { seq: 3, fault: Fault::Chain }));
    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    assert_eq!(found(&story.account, &swapped), Err(Difference { seq: 2, fault: Fault::Chain }));
    let cut = &entries[..6];
    assert_eq!(found(&story.account, cut), Err(Difference { seq: 6, fault: Fault::StoredHead }));
    let mut other = story.account.clone();
    other.id = AccountId::from_uuid(quotastack_core::ids::uuid_v7(at(0), [8; 10], None));
    assert_eq!(found(&other, entries), Err(Difference { seq: 1, fault: Fault::Chain }), "entries of another account");
}

#[test]
fn a_chain_that_was_hashed_anew_still_does_not_add_up() {
    let story = story();
    let id = story.account.id;
    let edit = |change: fn(&mut Vec<Entry>)| {
        let mut entries = story.effects.entries.clone();
        change(&mut entries);
        rehash(id, &mut entries);
        found(&story.account, &entries).unwrap_err()
    };
    let block = story.effects.entries[0].body.granted[0].id;
    let scheduled = story.effects.entries[1].body.granted[0].id;

    assert_eq!(edit(|e| e[2].body.amount = credits(-9)), Difference { seq: 3, fault: Fault::Sums });
    assert_eq!(edit(|e| e[3].debt_after = credits(4)), Difference { seq: 4, fault: Fault::Sums });
    assert_eq!(edit(|e| e[6].reserved_after = credits(1)), Difference { seq: 7, fault: Fault::Sums });
    let overdrawn = edit(|e| e[2].body.allocations[0].amount = credits(-11));
    assert_eq!(overdrawn, Difference { seq: 3, fault: Fault::Block(block) });
    let too_early = edit(|e| e[2].body.allocations[0].block_id = e[1].body.granted[0].id);
    assert_eq!(too_early, Difference { seq: 3, fault: Fault::Block(scheduled) });
    let twice = edit(|e| e[1].body = e[0].body.clone());
    assert_eq!(twice, Difference { seq: 2, fault: Fault::Block(block) });
    let unlisted = edit(|e| e[0].body.allocations.clear());
    assert_eq!(unlisted, Difference { seq: 1, fault: Fault::Block(block) });
    let not_owed = edit(|e| e[5].body.allocations[0].debt = None);
    assert_eq!(not_owed, Difference { seq: 6, fault: Fault::Debt });
    // Hashed anew and adding up: only the head that is kept with the account gives it away.
    assert_eq!(edit(|e| e[6].recorded_at = at(62)), Difference { seq: 7, fault: Fault::StoredHead });
}

#[test]
fn a_stored_account_that_is_not_what_its_entries_say_is_found() {
    let story = story();
    let entries = &story.effects.entries;
    let edit = |change: fn(&mut Account)| {
        let mut account = story.account.clone();
        change(&mut account);
        found(&account, entries).map_err(|difference| difference.fault)
    };
    let [used_up, running] = [0, 1].map(|index| story.account.wallet.lots[index].id);

    assert_eq!(edit(|a| a.totals.balance += credits(1)), Err(Fault::StoredTotals));
    assert_eq!(edit(|a| a.lifetime_granted += credits(1)), Err(Fault::StoredTotals));
    assert_eq!(edit(|a| a.lifetime_consumed += credits(1)), Err(Fault::StoredTotals));
    assert_eq!(edit(|a| a.wallet.lots[1].lot.remaining += credits(1)), Err(Fault::StoredBlock(running)));
    assert_eq!(edit(|a| a.wallet.lots[0].expired = credits(1)), Err(Fault::StoredBlock(used_up)));
    assert_eq!(edit(|a| a.wallet.lots[1].lot.priority = 101), Err(Fault::StoredBlock(running)));
    assert_eq!(edit(|a| drop(a.wallet.lots.remove(1))), Err(Fault::StoredBlock(running)));
    assert_eq!(edit(|a| a.wallet.lots.swap(0, 1)), Err(Fault::StoredOrder));
    assert_eq!(edit(|a| drop(a.wallet.lots.remove(0))), Ok(()), "a used-up block may be left out");
    let owes = |a: &mut Account| {
        let wallet = &mut a.wallet;
        wallet.debts.raise(DebtOf::Correction, credits(1), 1);
    };
    assert_eq!(edit(owes), Err(Fault::StoredDebts));
}
