//! Bytes that may never change: the canonical form of entries, which every stored hash is computed over.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_core::credits::Credits;
use quotastack_core::ids::{
    AccountId, BlockId, CapGroup, KeyId, ReservationId, SubscriptionId, TopupId, UsageId, VariantId,
};
use quotastack_core::ledger::block::{BlockKind, Ending, Lot, Origin, Reschedule, RolloverRule};
use quotastack_core::ledger::counter::CounterKey;
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{
    Actor, Allocation, Cause, Entry, EntryBody, EntryKind, GrantedBlock, Hash, HoldTerms, verify_chain,
};

use crate::support::{at, credits, feature_key, units};

/// The hash after each entry of [`chain`].
const HASHES: [&str; 21] = [
    "57544473217c82b26cb7da400ee6a8c96a4179bec0631b71aacc7d2946ef5cb6",
    "39a505827c660f1cc8a14418151917f5e5abb7f2ac67ea693148eb86df88e2e7",
    "be6d08c5c34c3aae992cb50eba481a70afc153cf392ba8db2002ca92b67d58f6",
    "a6d583d10bba54e8c25f75f4f51fc6c41f6de2aca1ff5a38a0df488896c6e6f1",
    "d4bbd333610bdd1e67c93b86be98788aaf430a33b46622bc037680adaa7efdaf",
    "e96e9f18557e30c222561fd255308641c184b0dd843c18f81f5543748bdea5a0",
    "a345c558e355616ea564f9aaf1ba3b2d45baec6f73c5b26c171d0cde87bdd7d2",
    "5bb0d96c8478ce583de69d26fd8edae03e3547979634485cb3a579b7de149be1",
    "cc96e2567d79390a0ceff0cdeefd7beb6ec8741253ddc7ab02468f350cc0a13a",
    "ffd5649f77a2e72d0101a2691367c0422d3a358c374b1b8ef27c6c0964d60051",
    "fdfef4376846f80b75388ac7d805ee297f92b87e1236a7e80a6ab9ba71e2e948",
    "a2cc378e7dd34cce81b1cb3bdecb282a524caa3104fe8db7f377d725e5d4d465",
    "a51ec22d6c4429a68ba7c5ec7a83896ff73a9b8796785d93165542e57a6d806a",
    "ff028490d2fcd9715e4c799d9989d00ef833a0eb923045f30db4dbb134f373c1",
    "9607595d38d21b29b9313c34e8d60bb5d8dc20d9fd78dd4c04734e6c8066311a",
    "24926b3f3e313cffec1c12b22cae7103c456d28141eb2a7c2cebffe7e1fb9db7",
    "33b9c2b4cf27c3d910c55941a1fe5b17a1d5db4fc8118e9386434e2c250fbda6",
    "56626081b98ec3ba3e2475da2e634d7a8b27372691050c29380f965ef887058b",
    "d53e2fb31b2fe501813726a6f30ec52322a7cff85a195f76614a1e6f0e8708f5",
    "230365ab1b1b29fbe737621680a087f86bc1ba62b0ef0f62b25a344398cfd2d1",
    "17c8fd0ee87302de84b1bb0bd5d44bd598ea4086bb58d3fb0e8f9a702ff24cff",
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
        frozen: false,
        rollover: None,
    };
    let variant_id = VariantId::from_uuid(uuid(5));
    let origin = Origin { subscription_id: SubscriptionId::from_uuid(uuid(3)), variant_id, template: 1 };
    let planned =
        Lot { kind: BlockKind::Plan, origin: Some(origin), expires_at: None, scope: Vec::new(), ..lot.clone() };
    let rollover = BlockId::from_uuid(uuid(8));
    let rolled =
        Lot { kind: BlockKind::Rollover, remaining: credits(5), expires_at: Some(at(7_200)), ..planned.clone() };
    let rule = RolloverRule { percent: 50, cap: Some(credits(80)), until: at(7_200) };
    let planned = Lot { rollover: Some(rule), ..planned };
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
        (
            EntryBody {
                granted: granted(rollover, rolled),
                ..body(
                    EntryKind::Rollover,
                    0,
                    [took(-5), vec![Allocation::of(rollover, credits(5))]].concat(),
                    Cause::Time,
                )
            },
            0,
            95,
        ),
        (
            EntryBody {
                reschedule: Some(Reschedule::MovedBy(7)),
                ..body(EntryKind::Reschedule, 0, took(0), Cause::Subscription(origin.subscription_id))
            },
            0,
            95,
        ),
        (
            EntryBody {
                billed: vec![(feature_key, credits(91))],
                ..body(EntryKind::DebtBilled, 91, Vec::new(), Cause::Subscription(origin.subscription_id))
            },
            0,
            4,
        ),
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
    let mut bytes = vec![4];
    bytes.extend([0xaa; 16]);
    bytes.push(5); // seq
    bytes.push(3); // debt
    bytes.extend(zigzag(-100));
    bytes.extend([0; 5]); // no allocations, nothing granted, ended, rescheduled or billed
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
