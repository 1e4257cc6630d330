//! Proofs over random histories: a true one verifies, and whatever is changed is found where it is.

use super::*;

use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, uuid_v7};
use quotastack_core::ledger::entry::Hash;
use quotastack_core::ledger::proof::{BrokenProof, Fault, Point, Proof, ProvenEntry, Remembered, verify};

fn proof_of(account: AccountId, entries: &[Entry], head: &Entry) -> Proof {
    let proven =
        |entry: &Entry| ProvenEntry { seq: entry.seq, canonical: entry.canonical_bytes(account), hash: entry.hash };
    Proof {
        account,
        before: entries.first().map_or(Point::after(head), Point::before),
        after: Point::after(entries.last().unwrap_or(head)),
        entries: entries.iter().map(proven).collect(),
        head: Point::after(head),
    }
}

/// Makes the segment a chain again from `from` on, as someone with access to the database could.
fn rehash(proof: &mut Proof, from: usize) {
    let mut at = if from == 0 { proof.before.hash } else { proof.entries[from - 1].hash };
    for proven in &mut proof.entries[from..] {
        let (account, mut entry) = Entry::from_canonical(&proven.canonical).unwrap();
        entry.prev_hash = at;
        entry.hash = entry.computed_hash(account);
        *proven = ProvenEntry { seq: entry.seq, canonical: entry.canonical_bytes(account), hash: entry.hash };
        at = entry.hash;
    }
    let is_head = proof.head.seq == proof.after.seq;
    proof.after.hash = at;
    if is_head {
        proof.head.hash = at;
    }
}

fn found(proof: &Proof) -> Result<u64, TestCaseError> {
    match verify(proof, None) {
        Err(broken) => Ok(broken.seq),
        Ok(_) => Err(TestCaseError::fail("it verified")),
    }
}

proptest! {
    #[test]
    fn a_proof_shows_what_is_so_and_whatever_is_changed_is_found_where_it_is(
        ops in vec(op(), 10..=COMMANDS_MAX),
        picks in any::<[usize; 4]>(),
        flip in 1u8..,
    ) {
        let mut world = World::new();
        ops.iter().try_for_each(|op| world.step(op))?;
        let (account, all) = (world.account.id, &world.entries);
        prop_assume!(all.len() > 3);
        let head = all.last().unwrap();
        let first = picks[0] % (all.len() - 2);
        let length = 2 + picks[1] % (all.len() - first - 1);
        let segment = &all[first..first + length];
        let good = proof_of(account, segment, head);

        // True as it stands: all that it says is what there is.
        let verified = verify(&good, None).unwrap();
        prop_assert_eq!(&verified.entries, segment);
        prop_assert_eq!((verified.before.seq, verified.after.seq), (segment[0].seq - 1, segment[length - 1].seq));
        let sum: Credits = segment.iter().map(|entry| entry.body.amount).sum();
        prop_assert_eq!(verified.before.balance + sum, verified.after.balance);
        prop_assert_eq!(verified.is_head, first + length == all.len());

        // A changed byte of an entry or its hash.
        let place = picks[2] % length;
        let seq = segment[place].seq;
        let mut bytes = good.clone();
        let byte = picks[3] % bytes.entries[place].canonical.len();
        bytes.entries[place].canonical[byte] ^= flip;
        prop_assert_eq!(found(&bytes)?, seq);
        let mut hash = good.clone();
        hash.entries[place].hash.0[picks[3] % 32] ^= flip;
        prop_assert_eq!(found(&hash)?, seq);
        // The same with a hash that fits: the entry contradicts itself, or its neighbour does not follow from it.
        bytes.entries[place].hash = Hash::of(&bytes.entries[place].canonical);
        prop_assert!((seq..=seq + 1).contains(&found(&bytes)?));

        // Dropped, doubled, out of order, foreign.
        let mut dropped = good.clone();
        dropped.entries.remove(place);
        prop_assert_eq!(found(&dropped)?, seq);
        let mut doubled = good.clone();
        doubled.entries.insert(place, doubled.entries[place].clone());
        prop_assert_eq!(found(&doubled)?, seq + 1);
        let mut swapped = good.clone();
        let other = (place + 1 + picks[3] % (length - 1)) % length;
        swapped.entries.swap(place, other);
        prop_assert_eq!(found(&swapped)?, segment[place.min(other)].seq);
        let stranger = AccountId::from_uuid(uuid_v7(at(0), [8; 10], Some(1)));
        let mut foreign = good.clone();
        let theirs = segment[place].canonical_bytes(stranger);
        foreign.entries[place] = ProvenEntry { seq, hash: Hash::of(&theirs), canonical: theirs };
        prop_assert_eq!(verify(&foreign, None), Err(BrokenProof { seq, fault: Fault::Account }));

        // Both ends are held to what they say.
        for change in [|point: &mut Point| point.hash.0[0] ^= 1, |point: &mut Point| point.balance = Credits::MAX] {
            let mut start = good.clone();
            change(&mut start.before);
            prop_assert!([segment[0].seq, 0].contains(&found(&start)?));
            let mut end = good.clone();
            change(&mut end.after);
            prop_assert_eq!(found(&end)?, segment[length - 1].seq);
        }

        // Written anew as a whole it verifies; who remembers an entry of it finds out.
        let mut anew = good.clone();
        let (_, mut other) = Entry::from_canonical(&anew.entries[place].canonical).unwrap();
        other.recorded_at = other.recorded_at.saturating_add_micros(1);
        anew.entries[place].canonical = other.canonical_bytes(account);
        rehash(&mut anew, place);
        prop_assert!(verify(&anew, None).is_ok());
        let known = &segment[place];
        let remembered = Remembered { account, at: Point::after(known) };
        prop_assert!(verify(&good, Some(&remembered)).is_ok());
        prop_assert_eq!(verify(&anew, Some(&remembered)), Err(BrokenProof { seq, fault: Fault::Rewritten }));
        let later = Remembered { account, at: Point { seq: head.seq + 1, ..remembered.at } };
        prop_assert_eq!(verify(&good, Some(&later)), Err(BrokenProof { seq: head.seq + 1, fault: Fault::Cut }));
        let theirs = Remembered { account: stranger, ..remembered };
        prop_assert_eq!(verify(&good, Some(&theirs)), Err(BrokenProof { seq, fault: Fault::Account }));
    }
}

#[test]
fn a_proof_that_says_nothing_of_what_is_remembered_proves_nothing() {
    let mut world = World::new();
    for amount in 1..=5 {
        let grant = Command::Grant(grant(amount));
        let (_, effects) = world.apply(grant);
        world.entries.extend(effects.entries);
    }
    let (account, all) = (world.account.id, &world.entries);
    let remembered = |index: usize| Remembered { account, at: Point::after(&all[index]) };
    let middle = proof_of(account, &all[2..4], &all[4]);
    for (index, expected) in [(0, Some(1)), (1, None), (2, None), (3, None), (4, Some(5))] {
        let fault = verify(&middle, Some(&remembered(index))).err();
        let expected = expected.map(|seq| BrokenProof { seq, fault: Fault::NotCovered });
        assert_eq!(fault, expected, "remembering entry {}", index + 1);
    }
    // Nothing new since: the end is what is remembered, or it is not.
    let nothing = proof_of(account, &[], &all[4]);
    assert!(verify(&nothing, Some(&remembered(4))).unwrap().is_head);
    let other = |change: fn(&mut Point)| {
        let mut other = remembered(4);
        change(&mut other.at);
        verify(&nothing, Some(&other)).unwrap_err()
    };
    assert_eq!(other(|at| at.hash = Hash::ZERO), BrokenProof { seq: 5, fault: Fault::Rewritten });
    assert_eq!(other(|at| at.balance = credits(1)), BrokenProof { seq: 5, fault: Fault::Figures });
}

#[test]
fn bytes_that_no_ledger_wrote_are_refused_without_a_panic() {
    let mut world = World::new();
    let (_, effects) = world.apply(Command::Grant(grant(5)));
    let entry = &effects.entries[0];
    let account = world.account.id;
    let fault_of = |bytes: Vec<u8>| {
        let mut proof = proof_of(account, &effects.entries, entry);
        proof.entries[0] = ProvenEntry { seq: 1, hash: Hash::of(&bytes), canonical: bytes };
        verify(&proof, None).unwrap_err().fault
    };
    let good = entry.canonical_bytes(account);
    assert_eq!(fault_of(Vec::new()), Fault::Unreadable);
    assert_eq!(fault_of(vec![200]), Fault::Format(200));
    assert_eq!(fault_of(good[..good.len() - 1].to_vec()), Fault::Unreadable);
    assert_eq!(fault_of([good.as_slice(), &[0]].concat()), Fault::Unreadable, "something behind it");
    let mut long = good.clone();
    // seq 1 as two bytes: the same number in another form.
    long.splice(17..18, [0x81, 0x00]);
    assert_eq!(fault_of(long), Fault::Unreadable);
    let mut huge = entry.clone();
    huge.body.allocations = vec![Allocation { held: Credits::MAX, ..huge.body.allocations[0].clone() }; 2_000];
    assert_eq!(fault_of(huge.canonical_bytes(account)), Fault::Figures);
}
