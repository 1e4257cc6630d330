//! The bytes of the link: golden for this version, and what a decoder refuses.
//!
//! `UPDATE_GOLDEN=1` rewrites the golden file. Until the first release the format may change with it; from then on
//! these bytes must decode for ever.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::Arc;

use proptest::prelude::*;
use quotastack_core::catalogue::{Catalogue, OveragePolicy, PlanKind, Variant};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::{
    CapGroup, EndUserId, FeatureKey, IdempotencyKey, LaneCount, PlanId, ReservationId, SidecarId, SubscriptionId,
    UsageId, VariantId,
};
use quotastack_core::ledger::block::{BlockKind, Lot, Origin};
use quotastack_core::ledger::command::{OnInsufficient, Usage};
use quotastack_core::ledger::counter::{CounterKey, Counters};
use quotastack_core::ledger::debt::{Debt, DebtOf};
use quotastack_core::ledger::hold::{HeldPart, Hold};
use quotastack_core::ledger::tranche::Tranche;
use quotastack_core::ledger::wallet::Wallet;
use quotastack_core::limits::{BATCH_EVENTS_MAX, FOLLOW_HASHES_MAX, FRAME_BYTES_MAX};
use quotastack_core::pricing::{Price, PriceModel};
use quotastack_core::state::AccountState;
use quotastack_core::subscription::state::{Subscription, SubscriptionStatus, Target};
use quotastack_core::sync::catalogue::EncodedCatalogue;
use quotastack_core::sync::publisher::{Next, Session};
use quotastack_core::sync::ring::{Published, Ring, RingLimits};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};
use quotastack_core::wire::{
    AnswerParts, BatchAnswer, BatchReply, Blob, Cursor, Delta, EventResult, FrameReader, Hello, Message, Mode, Report,
    Request, Response, Secret, ServerControl, SidecarControl, UsageEvent, VERSION, Welcome, WireError, decode, encode,
    follow_hash,
};
use uuid::Uuid;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/wire_v1.txt");

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn uuid(last: u8) -> Uuid {
    Uuid::from_bytes([1, 139, 207, 229, 104, 0, 112, 0, 128, 0, 0, 0, 0, 0, 0, last])
}

fn end_user(name: &str) -> EndUserId {
    EndUserId::new(name).unwrap()
}

fn usage() -> Usage {
    Usage {
        id: UsageId::from_uuid(uuid(7)),
        key: IdempotencyKey::new("req-1").unwrap(),
        feature_key: FeatureKey::new("ai_request").unwrap(),
        units: Units::new(3).unwrap(),
        properties: BTreeMap::from([("model".to_owned(), "large".to_owned())]),
        effective_at: Some(at("2026-11-22T10:00:00Z")),
        on_insufficient: Some(OnInsufficient::Cap),
        admitted_at: Some(at("2026-11-22T10:00:01.5Z")),
        leased: None,
    }
}

fn state() -> AccountState {
    let subscription_id = SubscriptionId::from_uuid(uuid(1));
    let lot = Lot {
        kind: BlockKind::Plan,
        priority: 100,
        paid: false,
        settles_debt: true,
        effective_at: at("2026-11-01T00:00:00Z"),
        expires_at: Some(at("2026-12-01T00:00:00Z")),
        scope: vec![FeatureKey::new("ai_request").unwrap()],
        remaining: Credits::new(9_000).unwrap(),
        held: Credits::new(40).unwrap(),
        origin: Some(Origin { subscription_id, variant_id: VariantId::from_uuid(uuid(3)), template: 2 }),
        cap_group: Some(CapGroup::new("daily").unwrap()),
        ended: None,
        claw_back: Credits::ZERO,
        frozen: false,
        rollover: None,
    };
    let month = Period { count: 1, unit: PeriodUnit::Month };
    let variant = Variant::new(PlanId::from_uuid(uuid(2)), PlanKind::Base, month);
    let target = Target { variant_id: VariantId::from_uuid(uuid(3)), variant_version: 4, quantity: 1 };
    let start = at("2026-11-01T00:00:00Z");
    let subscription = Subscription {
        status: SubscriptionStatus::Active,
        ..Subscription::scheduled(subscription_id, target, &variant, start, start)
    };
    let debt =
        Debt { of: DebtOf::Feature(FeatureKey::new("storage").unwrap()), amount: Credits::new(5).unwrap(), since: 6 };
    let counter = CounterKey {
        feature_key: FeatureKey::new("ai_request").unwrap(),
        matches: BTreeMap::from([("model".to_owned(), "large".to_owned())]),
        from: Some(at("2026-11-01T00:00:00Z")),
        until: Some(at("2026-12-01T00:00:00Z")),
    };
    let mut counters = Counters::default();
    counters.add(&counter, 70);
    let hold = Hold {
        id: ReservationId::from_uuid(uuid(4)),
        feature_key: FeatureKey::new("ai_request").unwrap(),
        expires_at: at("2026-11-22T10:05:00Z"),
        parts: vec![HeldPart { lot: 0, amount: Credits::new(40).unwrap() }],
        uncovered: Credits::new(2).unwrap(),
        counted: Some((counter, Units::new(8).unwrap())),
    };
    let own = Override {
        feature_key: FeatureKey::new("storage").unwrap(),
        enabled: Some(true),
        value: None,
        price: Some(Price::plain(PriceModel::Flat { cost: Credits::new(9).unwrap() })),
        overage_policy: Some(OveragePolicy::Notify),
        overdraft_limit: Credits::new(50).ok(),
        expires_at: None,
    };
    AccountState {
        stamp: 42,
        version: 12,
        catalogue_version: 3,
        wallet: Wallet {
            time: at("2026-11-22T10:00:00Z"),
            lots: vec![Tranche { granted: 0, lot }],
            holds: vec![hold],
            debts: [debt].into_iter().collect(),
            counters,
            subscriptions: vec![subscription],
            overrides: vec![own],
            ..Wallet::default()
        },
        ..AccountState::unknown(end_user("user_123"))
    }
}

fn sidecar_messages() -> Vec<SidecarControl> {
    vec![
        SidecarControl::Hello(Hello {
            key: Secret("qs_live_secret".to_owned()),
            sidecar_id: SidecarId::from_uuid(uuid(9)),
            run_id: [7; 16],
            software: "quotastack-sidecar 0.1.0".to_owned(),
            mode: Mode::OnDemand,
            cursor: Some(Cursor { epoch: [1; 16], lanes: vec![300, 4] }),
            catalogue_version: 3,
        }),
        SidecarControl::Follow { hashes: vec![1, u64::MAX], complete: true },
        SidecarControl::Heartbeat {
            sent_at: at("2026-11-22T10:00:00Z"),
            report: Report {
                staleness_ms: 1,
                accounts: 2,
                outbox_events: 3,
                outbox_bytes: 400,
                outbox_oldest_ms: 5,
                refused_events: 6,
            },
        },
    ]
}

fn server_messages() -> Vec<ServerControl> {
    vec![
        ServerControl::Welcome(Welcome {
            epoch: [1; 16],
            environment: "ten_x/live".to_owned(),
            lanes: LaneCount::new(4).unwrap(),
            server_now: at("2026-11-22T10:00:00Z"),
            in_flight_max: 4,
            resume: true,
        }),
        ServerControl::Refused { code: "unauthenticated".to_owned(), reason: "no such key".to_owned() },
        ServerControl::Heartbeat { sent_at: at("2026-11-22T10:00:00Z"), server_now: at("2026-11-22T10:00:00.001Z") },
    ]
}

fn deltas() -> Vec<Delta> {
    vec![
        Delta::States(vec![state(), AccountState::unknown(end_user("Zoë"))]),
        Delta::Progress { lanes: vec![42, 7], as_of: Some(at("2026-11-22T10:00:00Z")) },
        Delta::Catalogue { version: 3, index: 0, count: 1, bytes: Blob(vec![0, 255, 1]) },
    ]
}

fn requests() -> Vec<Request> {
    vec![
        Request::Usage { lane: 1, events: vec![UsageEvent { end_user_id: end_user("user_123"), usage: usage() }] },
        Request::Fetch { end_user_id: end_user("user_123") },
    ]
}

fn responses() -> Vec<Response> {
    let charged = Credits::new(45).unwrap();
    vec![
        Response::States(vec![state()]),
        Response::Recorded(vec![
            EventResult::Recorded { replayed: false, charged },
            EventResult::Refused { code: "feature_unknown".to_owned(), detail: "there is no feature x".to_owned() },
            EventResult::Failed,
        ]),
        Response::Busy { delay_ms: 200 },
        Response::State(Box::new(state())),
    ]
}

fn lines<M: Message + Debug + PartialEq>(name: &str, messages: &[M], golden: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (index, message) in messages.iter().enumerate() {
        let name = format!("{name}.{index}");
        let frame = encode(message).unwrap();
        let hex = frame.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(text, "{name} {hex}").unwrap();
        if let Some(kept) = golden.get(&name) {
            let read: M = decode(kept).unwrap_or_else(|error| panic!("{name} no longer decodes: {error}"));
            assert_eq!(&read, message, "{name}");
        }
    }
    text
}

fn read_golden() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(name, hex)| (name.to_owned(), bytes_of(hex))).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn every_message_keeps_its_bytes() {
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some();
    let golden = if rewrite { BTreeMap::new() } else { read_golden() };
    let text = [
        lines("sidecar_control", &sidecar_messages(), &golden),
        lines("server_control", &server_messages(), &golden),
        lines("delta", &deltas(), &golden),
        lines("request", &requests(), &golden),
        lines("response", &responses(), &golden),
    ]
    .concat();
    if rewrite {
        std::fs::write(GOLDEN, &text).unwrap();
    }
    let kept = std::fs::read_to_string(GOLDEN).expect("run with UPDATE_GOLDEN=1 to write the golden file");
    assert_eq!(kept, text, "the bytes of the link changed");
}

#[test]
fn hashes_of_followed_accounts_never_change() {
    // BLAKE3 of "abc" begins 6437b3ac38465133.
    assert_eq!(follow_hash(&end_user("abc")), 0x6437_b3ac_3846_5133);
    assert_eq!(follow_hash(&end_user("user_123")), 8_938_997_277_481_905_454);
}

#[test]
fn frames_come_in_any_pieces() {
    let frames: Vec<u8> = deltas().iter().flat_map(|delta| encode(delta).unwrap()).collect();
    for piece in [1, 3, 7, frames.len()] {
        let mut reader = FrameReader::new();
        let mut read = Vec::new();
        for bytes in frames.chunks(piece) {
            reader.feed(bytes);
            while let Some(delta) = reader.next_message::<Delta>().unwrap() {
                read.push(delta);
            }
        }
        assert_eq!(read, deltas(), "in pieces of {piece}");
        assert!(reader.is_empty());
    }
}

#[test]
fn another_version_is_named_before_the_frame_is_complete() {
    let mut reader = FrameReader::new();
    reader.feed(&[0, 0, 1, 0, VERSION + 1]);
    assert_eq!(reader.next_message::<Request>(), Err(WireError::Version(VERSION + 1)));
}

#[test]
fn long_frames_are_refused_by_their_length_alone() {
    let mut reader = FrameReader::with_limit(4_096);
    reader.feed(&4_097u32.to_be_bytes());
    assert_eq!(reader.next_message::<SidecarControl>(), Err(WireError::TooLong { bytes: 4_097, max: 4_096 }));
    let mut reader = FrameReader::with_limit(4_096);
    reader.lift_limit();
    reader.feed(&u32::try_from(FRAME_BYTES_MAX).unwrap().to_be_bytes());
    assert_eq!(reader.next_message::<SidecarControl>(), Ok(None));
    reader.feed(&[VERSION]);
    assert_eq!(reader.next_message::<SidecarControl>(), Ok(None));
}

#[test]
fn what_follows_a_message_in_its_frame_is_refused() {
    let mut frame = encode(&Response::Busy { delay_ms: 1 }).unwrap();
    frame.push(0);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(decode::<Response>(&frame), Err(WireError::Malformed));
    assert_eq!(decode::<Response>(&[0, 0, 0, 0]), Err(WireError::Malformed));
}

#[test]
fn lists_have_limits_at_both_ends() {
    let too_long = SidecarControl::Follow { hashes: vec![0; FOLLOW_HASHES_MAX + 1], complete: true };
    assert_eq!(encode(&too_long), Err(WireError::TooMany("hashes")));
    // The longest allowed list fits into a frame, whatever its values.
    encode(&SidecarControl::Follow { hashes: vec![u64::MAX; FOLLOW_HASHES_MAX], complete: true }).unwrap();

    let event = UsageEvent { end_user_id: end_user("u"), usage: usage() };
    let batch = |count| Request::Usage { lane: 0, events: vec![event.clone(); count] };
    assert_eq!(encode(&batch(BATCH_EVENTS_MAX + 1)), Err(WireError::TooMany("events")));
    encode(&batch(BATCH_EVENTS_MAX)).unwrap();

    // A peer that does not keep the limits is refused too: the same body with one hash more than is allowed.
    let mut body = vec![0, 0, 0, 0, VERSION, 1];
    body = postcard::to_extend(&vec![0u64; FOLLOW_HASHES_MAX + 1], body).unwrap();
    body.push(1);
    let length = u32::try_from(body.len() - 4).unwrap();
    body[..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(decode::<SidecarControl>(&body), Err(WireError::TooMany("hashes")));
}

#[test]
fn names_and_amounts_are_checked_where_they_enter() {
    let golden = encode(&Request::Fetch { end_user_id: end_user("user_123") }).unwrap();
    let mut control = golden;
    let last = control.len() - 1;
    control[last] = b'\n';
    assert_eq!(decode::<Request>(&control), Err(WireError::Malformed));
}

#[test]
fn the_hello_of_the_largest_environment_fits_before_the_key_is_known() {
    let SidecarControl::Hello(hello) = sidecar_messages().remove(0) else { panic!("the first one is a hello") };
    let cursor = Some(Cursor { epoch: [255; 16], lanes: vec![u64::MAX; 256] });
    let frame = encode(&SidecarControl::Hello(Hello { cursor, ..hello })).unwrap();
    assert!(frame.len() < 4_096, "{} bytes", frame.len());
}

#[test]
fn a_long_answer_is_cut_and_put_together() {
    let states: Vec<AccountState> =
        (0..1_000).map(|n| AccountState { end_user_id: end_user(&format!("{n:0256}")), ..state() }).collect();
    let answer = BatchAnswer { results: vec![EventResult::Failed; 1_000], states };
    let frames = answer.clone().into_frames().unwrap();
    assert!(frames.len() > 2);
    let mut parts = AnswerParts::default();
    let replies: Vec<BatchReply> =
        frames.iter().filter_map(|frame| parts.push(decode(frame).unwrap()).unwrap()).collect();
    assert_eq!(replies, [BatchReply::Answer(answer)]);
}

#[test]
fn published_states_have_the_bytes_of_the_message() {
    let states = [state(), AccountState { stamp: 43, ..AccountState::unknown(end_user("Zoë")) }];
    let published: Vec<Arc<Published>> = states.iter().map(|state| Arc::new(Published::new(state))).collect();
    let mut ring = Ring::new(41, RingLimits { places_max: 10, bytes_max: 10_000 });
    ring.extend(41, 43, published).unwrap();
    let rings = [ring];
    let catalogue = EncodedCatalogue::new(&Catalogue::default()).unwrap();
    let now = at("2026-11-22T10:00:00Z");
    let mut session = Session::new(Mode::All, Some(vec![41]), &[43], 0, now);
    let mut frames = Vec::new();
    while let Next::Send(frame) = session.next(rings.as_slice(), &catalogue, now).unwrap() {
        frames.push(frame);
    }
    assert!(frames.contains(&encode(&Delta::States(states.to_vec())).unwrap()));
}

#[test]
fn a_key_is_never_shown() {
    assert!(!format!("{:?}", sidecar_messages()).contains("secret"));
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut frame = u32::try_from(body.len() + 1).unwrap().to_be_bytes().to_vec();
        frame.push(VERSION);
        frame.extend(body);
        let _ = decode::<SidecarControl>(&frame);
        let _ = decode::<ServerControl>(&frame);
        let _ = decode::<Delta>(&frame);
        let _ = decode::<Request>(&frame);
        let _ = decode::<Response>(&frame);
    }
}
