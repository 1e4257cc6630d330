//! Bytes that may never change: the canonical form of entries, which every stored hash is computed over.

use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, BlockId, KeyId, SubscriptionId, UsageId, VariantId};
use quotastack_core::ledger::block::{BlockKind, Lot, Origin};
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{
    Actor, Allocation, Cause, Entry, EntryBody, EntryKind, GrantedBlock, Hash, verify_chain,
};

use crate::support::{at, credits, feature_key, units};

/// The hash after each entry of [`chain`].
const HASHES: [&str; 7] = [
    "fe3d6e10ce6edd81083d7351a6067f382bdaf509eb32377db8eeebd7694de2e3",
    "7a6f57cab6a6242705ecfef9c1731d036358c8cc03eb5408ca1dab3df6c54fc3",
    "12b7b706a0d2f4d43df08241d19784ab790ad21cec7bcdf602d26e08085fddae",
    "9fd9db93a25e711cf415e53c152d436a7e1676f9e9697db5a20ff70e5528ab59",
    "f41c4f5f382d21431a30a53d6774a684687efa33ff37bc48ef71fb5f1b778607",
    "cc7193e60c24b0b942dc6ec26fc1cda5c7a49d7371df4d61334725ac2759ad66",
    "9c52686892db360e1f4fc5a6591cc78945d4b34d33c223d3142706a89881827b",
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
    };
    let variant_id = VariantId::from_uuid(uuid(5));
    let origin = Origin { subscription_id: SubscriptionId::from_uuid(uuid(3)), variant_id, template: 1 };
    let planned =
        Lot { kind: BlockKind::Plan, origin: Some(origin), expires_at: None, scope: Vec::new(), ..lot.clone() };
    let usage = || Cause::Usage { id: UsageId::from_uuid(uuid(4)), feature_key: feature_key("a"), units: units(300) };
    let owed = || DebtOf::Feature(feature_key("a"));
    let settled = Allocation { debt: Some(owed()), ..Allocation::of(block, credits(-7)) };
    let took = |amount| vec![Allocation::of(block, credits(amount))];
    let granted = |id, lot: Lot| vec![GrantedBlock { id, lot, trimmed: Credits::ZERO }];
    let rows = [
        (EntryKind::Grant, 100, took(100), granted(block, lot), Cause::Grant, 0),
        (EntryKind::Grant, 0, took(100), granted(block, planned), Cause::Subscription(origin.subscription_id), 0),
        (EntryKind::Start, 100, Vec::new(), Vec::new(), Cause::Time, 0),
        (EntryKind::Usage, -200, took(-200), Vec::new(), usage(), 0),
        (EntryKind::Debt, -100, Vec::new(), Vec::new(), usage(), 100),
        (EntryKind::DebtSettled, 0, vec![settled], Vec::new(), Cause::Time, 93),
        (EntryKind::Expire, -93, took(-93), Vec::new(), Cause::Time, 93),
    ];
    let (mut hash, mut balance) = (Hash::ZERO, Credits::ZERO);
    let entry = |(seq, (kind, amount, allocations, granted, cause, debt))| {
        let amount = credits(amount);
        balance += amount;
        let effective_at = at(i64::try_from(seq).unwrap());
        let mut entry = Entry {
            seq,
            body: EntryBody {
                amount,
                allocations,
                granted,
                owed: (kind == EntryKind::Debt).then(|| (owed(), -amount)),
                ..EntryBody::new(kind, cause, effective_at)
            },
            balance_after: balance,
            reserved_after: Credits::ZERO,
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
    let mut bytes = vec![2];
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
