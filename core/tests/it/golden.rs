//! Bytes that may never change: the canonical form of entries, which every stored hash is computed over.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_core::credits::Credits;
use quotastack_core::ids::{
    AccountId, BlockId, CapGroup, KeyId, ReservationId, SubscriptionId, TopupId, UsageId, VariantId,
};
use quotastack_core::ledger::block::{BlockKind, Ending, Lot, Origin};
use quotastack_core::ledger::counter::CounterKey;
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{
    Actor, Allocation, Cause, Entry, EntryBody, EntryKind, GrantedBlock, Hash, HoldTerms, verify_chain,
};

use crate::support::{at, credits, feature_key, units};

/// The hash after each entry of [`chain`].
const HASHES: [&str; 18] = [
    "651a7c8d7a9476122f1ba3b23544d46633329a46c7b733023a98413fb3c625b7",
    "c21d87e206d2ef255a688a7feeb128712b83602a7370be812ddbbaa9569d95a1",
    "b77028f669ddda52d9df75f21cbe3ea978108a2229d64ec439c135395f78436b",
    "d67b59881a8eaad1c8120a0d2d666e09acf864c601f20d5e45b2ae3b34c5f497",
    "f531fe3cd7f82b7757b79a7410ba0957207c0e37be876c5b5a273648b2287071",
    "a1ef5244ee6dc695ba1eced057a5cbb8c7db2fe1d1a7fecbf913f6a0fd798d2c",
    "e1986fcf5bf1cf91be28c593c60c047c30c6f27420b0456d8097445f128bb092",
    "2548d45366af6a0789399084c7dd538962cedb1451048df4a0acdff35027b01b",
    "b2668a640344260ae9c99c54664b3fa17cc65bed49d6417ae6e7317b2d236ea6",
    "cf73fabe6587f788336aeebb4f6aedd56062d942624f12f7ca135422eaedbb18",
    "f41f6af46dd6d5c79671a3b995e1c7e8fa7dd90938915a68e46ce0fbb01a110b",
    "e4ef46481352672abec6d81a13e0de3ca6f7e0c1b86c84c563baef0a3b0a49a9",
    "df3adcb3cbeb71e233e945e11dce6284a7281910121f9375eca5f0036d9decb2",
    "eeac6c0efa2bef08df1d8d2df57ed84ff0e8d5d9324803e4598719f7c5caa34f",
    "d4d227b817484d1c607fe75193345f8262fcf1cf6690a405f0bec24e991780dd",
    "50c91473de7345c9fdd197a724b330742846e1aea5fdbaaa7f5447d995b71f13",
    "f1ec25236bb71701645f7b99ad5af875d32601080140fd688385cd080d30aaad",
    "204af2198c1e01ab534bf83d0e920a213f24416236e305c290d4b1e5e6f5b937",
];

fn uuid(byte: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([byte; 16])
}

fn account() -> AccountId {
    AccountId::from_uuid(uuid(0xaa))
}

/// One entry of each kind, with each cause and actor, chained by hand.
fn chain() -> Vec<Entry> {
    let (block, key) = (BlockId::from_uuid(uuid(1)), KeyId::from_uuid(uuid(2)));
    let lot = Lot {
        kind: BlockKind::Topup,
        priority: 100,
        paid: true,
        settles_debt: true,
        effective_at: at(0),
        expires_at: Some(at(3_600)),
        scope: vec![feature_key("a"), feature_key("b")],
        remaining: credits(100),
        held: Credits::ZERO,
        origin: None,
        cap_group: None,
        ended: None,
        claw_back: Credits::ZERO,
    };
    let variant_id = VariantId::from_uuid(uuid(5));
    let origin = Origin { subscription_id: SubscriptionId::from_uuid(uuid(3)), variant_id, template: 1 };
    let planned =
        Lot { kind: BlockKind::Plan, origin: Some(origin), expires_at: None, scope: Vec::new(), ..lot.clone() };
    let (feature_key, units) = (feature_key("a"), units(300));
    let usage_id = UsageId::from_uuid(uuid(4));
    let usage = || Cause::Usage { id: usage_id, feature_key: feature_key.clone(), units };
    let reservation_id = ReservationId::from_uuid(uuid(6));
    let reservation = || Cause::Reservation { id: reservation_id, feature_key: feature_key.clone(), units };
    let commit = Cause::Commit { id: usage_id, reservation_id, feature_key: feature_key.clone(), units };
    let (topup, refund) = (Cause::Topup(TopupId::from_uuid(uuid(7))), || Cause::Refund(TopupId::from_uuid(uuid(7))));
    let owed = || DebtOf::Feature(feature_key.clone());
    let settled = Allocation { debt: Some(owed()), ..Allocation::of(block, credits(-7)) };
    let took = |amount| vec![Allocation::of(block, credits(amount))];
    let held = |held| vec![Allocation::of_held(block, credits(held))];
    let terms = |seconds| Some(HoldTerms { expires_at: at(seconds), uncovered: credits(2) });
    let matches = BTreeMap::from([("model".to_owned(), "large".to_owned())]);
    let window = CounterKey { feature_key: feature_key.clone(), matches, from: Some(at(0)), until: None };
    let granted = |id, lot: Lot| vec![GrantedBlock { id, lot, trimmed: Credits::ZERO }];
    let capped = Lot { cap_group: Some(CapGroup::new("packs").unwrap()), ..lot.clone() };
    let trimmed = vec![GrantedBlock { id: block, lot: capped, trimmed: credits(9) }];
    let body = |kind, amount, allocations, cause| EntryBody {
        amount: credits(amount),
        allocations,
        ..EntryBody::new(kind, cause, at(0))
    };
    // Each with what holds have set aside and what is owed after it.
    let rows = [
        (EntryBody { granted: granted(block, lot), ..body(EntryKind::Grant, 100, took(100), Cause::Grant) }, 0, 0),
        (
            EntryBody {
                granted: granted(block, planned),
                ..body(EntryKind::Grant, 0, took(100), Cause::Subscription(origin.subscription_id))
            },
            0,
            0,
        ),
        (body(EntryKind::Start, 100, Vec::new(), Cause::Time), 0, 0),
        (body(EntryKind::Usage, -200, took(-200), usage()), 0, 0),
        (EntryBody::debt(owed(), credits(100), usage(), at(0)), 0, 100),
        (body(EntryKind::DebtSettled, 0, vec![settled], Cause::Time), 0, 93),
        (body(EntryKind::Expire, -93, took(-93), Cause::Time), 0, 93),
        (
            EntryBody {
                hold: terms(60),
                counted: Some((window, 8)),
                ..body(EntryKind::Hold, 0, held(5), reservation())
            },
            5,
            93,
        ),
        (EntryBody { hold: terms(90), ..body(EntryKind::Extend, 0, Vec::new(), reservation()) }, 5, 93),
        (
            EntryBody {
                hold: terms(90),
                ..body(EntryKind::Commit, -3, vec![Allocation { held: credits(-3), ..took(-3).remove(0) }], commit)
            },
            2,
            93,
        ),
        (body(EntryKind::Release, 0, held(-1), reservation()), 1, 93),
        (body(EntryKind::HoldExpired, 0, held(-1), reservation()), 0, 93),
        (
            EntryBody { owed: Some((owed(), credits(-2))), ..body(EntryKind::Void, 5, took(3), Cause::Void(usage_id)) },
            0,
            91,
        ),
        (
            EntryBody {
                ends: Some(Ending::Voided),
                ..body(EntryKind::Withdraw, -1, took(-1), Cause::BlockVoid(block))
            },
            0,
            91,
        ),
        (EntryBody { ends: Some(Ending::Refunded), ..body(EntryKind::Refund, -1, took(-1), refund()) }, 0, 91),
        (EntryBody { allocations: took(0), ..EntryBody::debt(DebtOf::Correction, credits(4), refund(), at(0)) }, 0, 95),
        (body(EntryKind::Adjust, -1, took(-1), Cause::Adjustment), 0, 95),
        (EntryBody { granted: trimmed, ..body(EntryKind::Grant, 100, took(100), topup) }, 0, 95),
    ];
    let (mut hash, mut balance) = (Hash::ZERO, Credits::ZERO);
    let entry = |(seq, (body, reserved, debt)): (u64, (EntryBody, i64, i64))| {
        let effective_at = at(i64::try_from(seq).unwrap());
        balance += body.amount;
        let mut entry = Entry {
            seq,
            body: EntryBody { effective_at, ..body },
            balance_after: balance,
            reserved_after: credits(reserved),
            debt_after: credits(debt),
            recorded_at: effective_at.saturating_add_micros(1),
            actor: if seq % 2 == 0 { Actor::System } else { Actor::Key(key) },
            prev_hash: hash,
            hash: Hash::ZERO,
        };
        entry.hash = entry.computed_hash(account());
        hash = entry.hash;
        entry
    };
    (1..).zip(rows).map(entry).collect()
}

#[test]
fn every_kind_of_entry_is_in_the_known_chain() {
    let chain = chain();
    let kinds: BTreeSet<EntryKind> = chain.iter().map(|entry| entry.body.kind).collect();
    assert_eq!(kinds, BTreeSet::from(EntryKind::ALL));
    let causes: BTreeSet<&str> = chain.iter().map(|entry| entry.body.cause.name()).collect();
    assert_eq!(causes.len(), 11);
}

#[test]
fn a_known_chain_has_its_known_hashes() {
    let chain = chain();
    let hashes: Vec<String> = chain.iter().map(|entry| entry.hash.to_string()).collect();
    assert_eq!(hashes, HASHES);
    verify_chain(account(), (0, Hash::ZERO, Credits::ZERO), &chain).unwrap();
}

#[test]
fn a_changed_byte_breaks_the_chain_where_it_is() {
    let good = chain();
    let broken_at = |change: fn(&mut Vec<Entry>)| {
        let mut chain = good.clone();
        change(&mut chain);
        verify_chain(account(), (0, Hash::ZERO, Credits::ZERO), &chain).unwrap_err().seq
    };
    assert_eq!(broken_at(|c| c[0].actor = Actor::System), 1);
    assert_eq!(broken_at(|c| c[1].body.granted[0].lot.priority = 99), 2);
    assert_eq!(broken_at(|c| c[2].recorded_at = at(9)), 3);
    assert_eq!(broken_at(|c| c[3].body.cause = Cause::Time), 4);
    assert_eq!(broken_at(|c| c[4].debt_after = credits(99)), 5);
    assert_eq!(broken_at(|c| c[5].body.allocations[0].debt = None), 6);
    assert_eq!(broken_at(|c| c[6].prev_hash = Hash::ZERO), 7);
    assert_eq!(broken_at(|c| c[6].hash = Hash::ZERO), 7);
    let elsewhere = AccountId::from_uuid(uuid(0xab));
    assert_eq!(verify_chain(elsewhere, (0, Hash::ZERO, Credits::ZERO), &good).unwrap_err().seq, 1);
    assert!(verify_chain(account(), (4, good[3].hash, good[3].balance_after), &good[4..]).is_ok(), "a segment");
}

/// The canonical bytes, written out: integers as variable-length (signed ones zigzag), ids and hashes as they are,
/// lists and texts behind their length, variants by number.
#[test]
fn the_canonical_bytes_are_these() {
    let entry = &chain()[4];
    let mut bytes = vec![3];
    bytes.extend([0xaa; 16]);
    bytes.push(5); // seq
    bytes.push(3); // debt
    bytes.extend(zigzag(-100));
    bytes.extend([0, 0, 0]); // no allocations, nothing granted, nothing ended
    bytes.extend([1, 0, 1, b'a']); // owed for the feature
    bytes.extend(zigzag(100));
    bytes.extend([0, 0]); // no hold, nothing counted
    bytes.push(1); // caused by usage
    bytes.extend([4; 16]);
    bytes.extend([1, b'a']);
    bytes.extend(zigzag(300));
    bytes.extend(zigzag(at(5).as_micros()));
    for amount in [-100, 0, 100, at(5).as_micros() + 1] {
        bytes.extend(zigzag(amount));
    }
    bytes.push(0); // by a key
    bytes.extend([2; 16]);
    bytes.extend(entry.prev_hash.0);
    assert_eq!(entry.hash, Hash(*blake3::hash(&bytes).as_bytes()));
    assert_eq!(Entry::from_canonical(&bytes), Ok((account(), entry.clone())));
}

fn zigzag(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}
