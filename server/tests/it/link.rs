//! The link, spoken frame by frame: who is taken in, what flows, what a batch does, what ends a session.

use std::collections::BTreeMap;

use quotastack_core::credits::Credits;
use quotastack_core::entitlement::terms::PriceSource;
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, ReservationId, UsageId, uuid_v7};
use quotastack_core::ledger::command::{Leased, Usage};
use quotastack_core::ledger::quote::PricedBy;
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::decode as decode_catalogue;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{
    AnswerParts, BatchAnswer, BatchReply, Cursor, Delta, EventResult, Mode, Report, Request, Response, ServerControl,
    SidecarControl, UsageEvent, WireError, encode, follow_hash,
};
use quotastack_server::app::auth::Scope;
use quotastack_server::app::clock;
use quotastack_server::store::keys::Environment;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::peer::{Incoming, Peer, Wire, deltas_until, hello};
use crate::support::server::TestServer;
use crate::support::wait::until;

async fn wire(server: &TestServer) -> Wire {
    Wire::connect(server.quic(), &server.ca_file()).await
}

async fn peer(server: &TestServer, mode: Mode, cursor: Option<Cursor>) -> Peer {
    let key = server.live.key().unwrap();
    Peer::link(server.quic(), &server.ca_file(), hello(key, mode, cursor)).await
}

fn end_user(name: &str) -> EndUserId {
    EndUserId::new(name).unwrap()
}

fn event(end_user_id: &EndUserId, key: &str, units: i64) -> UsageEvent {
    let admitted_at = clock::now();
    let usage = Usage {
        id: UsageId::from_uuid(uuid_v7(admitted_at, *b"0123456789", Some(end_user_id.bucket()))),
        key: IdempotencyKey::new(key).unwrap(),
        feature_key: FeatureKey::new("f").unwrap(),
        units: units.try_into().unwrap(),
        properties: BTreeMap::new(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: Some(admitted_at),
        leased: None,
    };
    UsageEvent { end_user_id: end_user_id.clone(), usage }
}

async fn with_feature(server: &TestServer) {
    let price = json!({"type": "per_unit", "cost": 2});
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": price});
    server.live.post("/v1/features", &feature).await.is(201);
}

async fn grant(server: &TestServer, end_user_id: &str, amount: i64) {
    let grant = json!({"end_user_id": end_user_id, "kind": "promo", "amount": amount});
    server.live.post("/v1/credits/grants", &grant).await.is(201);
}

async fn send(peer: &Peer, events: Vec<UsageEvent>) -> BatchAnswer {
    let lane = peer.welcome.lanes.lane_of(events[0].end_user_id.bucket());
    let mut stream = peer.ask(&Request::Usage { lane, events }).await;
    let mut parts = AnswerParts::default();
    loop {
        let response = stream.next::<Response>().await.expect("a batch is answered");
        match parts.push(response).unwrap() {
            Some(BatchReply::Answer(answer)) => return answer,
            Some(BatchReply::Busy { .. }) => panic!("nothing else goes on"),
            None => {}
        }
    }
}

async fn fetch(peer: &Peer, end_user_id: &EndUserId) -> AccountState {
    let mut answer = peer.ask(&Request::Fetch { end_user_id: end_user_id.clone() }).await;
    match answer.next::<Response>().await {
        Some(Response::State(state)) => *state,
        other => panic!("a state was asked for: {other:?}"),
    }
}

fn states(deltas: &[Delta]) -> Vec<&AccountState> {
    deltas.iter().flat_map(|delta| if let Delta::States(states) = delta { states.as_slice() } else { &[] }).collect()
}

fn balance(state: &AccountState) -> i64 {
    state.wallet.totals().balance.get()
}

/// Everything up to now: the states, and the cursor that they lead to.
async fn load(stream: &mut Incoming) -> (Vec<Delta>, Vec<u64>) {
    let is_complete = |delta: &Delta| matches!(delta, Delta::Progress { as_of: Some(_), .. });
    let seen = deltas_until(stream, |seen| seen.iter().any(is_complete)).await;
    let Some(Delta::Progress { lanes, .. }) = seen.last().cloned() else { panic!("progress came last") };
    (seen, lanes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_key_of_a_sidecar_is_told_why() {
    let server = TestServer::start().await;
    let reader = server.mint(Environment::Live, &[Scope::CreditsRead], None).await;
    for (key, expected) in [("qs_live_x", "unauthenticated"), (reader.secret.expose_secret(), "forbidden")] {
        let wire = wire(&server).await;
        let (answer, ..) = wire.hello(hello(key, Mode::All, None)).await;
        let Some(ServerControl::Refused { code, reason }) = answer else { panic!("{answer:?}") };
        assert_eq!(code, expected, "{reason}");
        assert!(wire.closed().await.contains(&reason));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_one_stream_one_short_frame_and_three_seconds() {
    let server = TestServer::start().await;
    let silent = wire(&server).await;
    assert!(silent.closed().await.contains("no hello in time"));

    let long = wire(&server).await;
    let _streams = long.control(&5_000u32.to_be_bytes()).await;
    assert!(long.closed().await.contains("more than the 4096"));

    let other = wire(&server).await;
    let _streams = other.control(&[0, 0, 0, 9, 99]).await;
    assert!(other.closed().await.contains(&WireError::Version(99).to_string()));

    let heartbeat = SidecarControl::Heartbeat { sent_at: Timestamp::MIN, report: Report::default() };
    let impolite = wire(&server).await;
    let _streams = impolite.control(&encode(&heartbeat).unwrap()).await;
    assert!(impolite.closed().await.contains("something else than hello"));

    // A second stream has to wait for the key, and so for ever.
    let many = wire(&server).await;
    let _first = many.control(&[0]).await;
    tokio::select! {
        opened = many.connection.open_bi() => assert!(opened.is_err(), "a second stream before the key"),
        reason = many.closed() => assert!(reason.contains("no hello in time"), "{reason}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_environment_flows_and_goes_on_from_a_cursor() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    for index in 0..5 {
        grant(&server, &format!("user_{index}"), 100 + index).await;
    }
    let first = peer(&server, Mode::All, None).await;
    assert!(!first.welcome.resume);
    let (seen, lanes) = load(&mut first.deltas().await).await;
    let mut held: Vec<(String, i64)> =
        states(&seen).iter().map(|state| (state.end_user_id.to_string(), balance(state))).collect();
    held.sort();
    assert_eq!(held, (0..5).map(|index| (format!("user_{index}"), 100 + index)).collect::<Vec<_>>());
    let Some(Delta::Catalogue { bytes, count: 1, .. }) = seen.first() else { panic!("the catalogue comes first") };
    let catalogue = decode_catalogue(&bytes.0).unwrap();
    assert!(catalogue.features.contains_key(&FeatureKey::new("f").unwrap()));

    grant(&server, "user_3", 1).await;
    let cursor = Cursor { epoch: first.welcome.epoch, lanes: lanes.clone() };
    let second = peer(&server, Mode::All, Some(cursor)).await;
    assert!(second.welcome.resume);
    let mut stream = second.deltas().await;
    let (seen, _) = load(&mut stream).await;
    assert_eq!(states(&seen).iter().map(|state| balance(state)).collect::<Vec<_>>(), [104]);

    // And while the link is up.
    grant(&server, "user_3", 1).await;
    let seen = deltas_until(&mut stream, |seen| !states(seen).is_empty()).await;
    assert_eq!(balance(states(&seen)[0]), 105);

    // Another history, a cursor ahead of a lane, another number of lanes: all begin anew.
    let ahead = lanes.iter().map(|lane| lane + 1_000).collect();
    for (epoch, lanes) in [([9; 16], lanes), (first.welcome.epoch, ahead), (first.welcome.epoch, vec![0; 256])] {
        assert!(!peer(&server, Mode::All, Some(Cursor { epoch, lanes })).await.welcome.resume);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_followed_flows_on_demand() {
    let server = TestServer::start().await;
    for name in ["named", "fetched", "charged", "other"] {
        grant(&server, name, 10).await;
    }
    with_feature(&server).await;
    let mut peer = peer(&server, Mode::OnDemand, None).await;
    let hashes = vec![follow_hash(&end_user("named"))];
    peer.say(&SidecarControl::Follow { hashes, complete: true }).await;
    let mut deltas = peer.deltas().await;
    assert!(states(&load(&mut deltas).await.0).is_empty(), "who holds nothing has missed nothing");

    assert_eq!(balance(&fetch(&peer, &end_user("fetched")).await), 10);
    let unknown = fetch(&peer, &end_user("nobody")).await;
    assert_eq!((unknown.stamp, unknown.end_user_id), (0, end_user("nobody")));
    send(&peer, vec![event(&end_user("charged"), "k", 1)]).await;
    for name in ["other", "named", "fetched", "nobody", "charged"] {
        grant(&server, name, 1).await;
    }
    let wanted = ["named", "fetched", "nobody", "charged"].map(end_user);
    let has_all = |seen: &[Delta]| {
        let last = |name: &EndUserId| states(seen).into_iter().rfind(|state| state.end_user_id == *name).cloned();
        let amounts: Vec<Option<i64>> = wanted.iter().map(|name| last(name).as_ref().map(balance)).collect();
        amounts == [Some(11), Some(11), Some(1), Some(9)]
    };
    let seen = deltas_until(&mut deltas, has_all).await;
    assert!(states(&seen).iter().all(|state| wanted.contains(&state.end_user_id)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_recorded_once_however_often_it_is_sent() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let id = end_user("u");
    grant(&server, "u", 5).await;
    let peer = peer(&server, Mode::OnDemand, None).await;
    let unknown = {
        let mut event = event(&id, "unknown", 1);
        event.usage.feature_key = FeatureKey::new("nothing").unwrap();
        event
    };
    let batch = vec![event(&id, "a", 1), unknown, event(&id, "b", 2)];
    let first = send(&peer, batch.clone()).await;
    let [
        EventResult::Recorded { charged: a, .. },
        EventResult::Refused { code, .. },
        EventResult::Recorded { charged: b, .. },
    ] = first.results.as_slice()
    else {
        panic!("{:?}", first.results)
    };
    assert_eq!((a.get(), code.as_str(), b.get()), (2, "feature_unknown", 4));
    // Admitted work is recorded beyond the credit there is.
    assert_eq!(first.states.iter().map(balance).collect::<Vec<_>>(), [-1]);

    let again = send(&peer, batch).await;
    let places = |answer: &BatchAnswer| -> Vec<_> {
        answer.states.iter().map(|state| (state.stamp, state.version, balance(state))).collect()
    };
    assert_eq!(places(&again), places(&first), "nothing moves");
    let entries = server.verified_entries(&server.live, "u").await;
    let used: i64 = entries.iter().map(|entry| entry.body.amount.get()).sum();
    assert_eq!(used, -1, "5 granted, 6 used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_breaks_the_rules_ends_the_session_and_records_nothing() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let id = end_user("u");
    grant(&server, "u", 100).await;
    let not_admitted = {
        let mut event = event(&id, "k", 1);
        event.usage.admitted_at = None;
        event
    };
    let paid_for = {
        let mut event = event(&id, "k", 1);
        let priced_by = PricedBy { source: PriceSource::Feature, rule: None };
        let lease = ReservationId::from_uuid(event.usage.id.uuid());
        event.usage.leased = Some(Leased { id: lease, cost: Credits::new(-5).unwrap(), priced_by });
        event
    };
    let lanes = peer(&server, Mode::All, None).await.welcome.lanes;
    let own = lanes.lane_of(id.bucket());
    let refused =
        [(own, vec![not_admitted]), (own, vec![paid_for]), (own, vec![]), (lanes.get(), vec![event(&id, "k", 1)])];
    for (lane, events) in refused {
        let peer = peer(&server, Mode::All, None).await;
        let mut answer = peer.ask(&Request::Usage { lane, events }).await;
        assert_eq!(answer.next::<Response>().await, None);
        assert!(peer.wire.closed().await.contains("do not belong to its lane"));
    }
    assert_eq!(server.verified_entries(&server.live, "u").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_are_answered_with_the_servers_time() {
    let server = TestServer::start().await;
    let mut peer = peer(&server, Mode::All, None).await;
    let sent_at = Timestamp::from_micros(5).unwrap();
    peer.say(&SidecarControl::Heartbeat { sent_at, report: Report::default() }).await;
    let Some(ServerControl::Heartbeat { sent_at: echoed, server_now }) = peer.from_server.next().await else {
        panic!("a heartbeat is answered")
    };
    assert_eq!(echoed, sent_at);
    assert!(server_now >= peer.welcome.server_now);
}

/// list_sidecars.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_is_listed_as_it_was_last_heard_of() {
    let server = TestServer::start().await;
    let mut peer = peer(&server, Mode::All, None).await;
    let report = Report { staleness_ms: 7, accounts: 6, outbox_events: 5, outbox_bytes: 400, ..Report::default() };
    peer.say(&SidecarControl::Heartbeat { sent_at: Timestamp::MIN, report }).await;
    assert!(matches!(peer.from_server.next().await, Some(ServerControl::Heartbeat { .. })), "it is heard");
    let listed = until("the link is noted", async || {
        let page = server.live.get("/v1/sidecars").await.is(200);
        page["data"].get(0).cloned()
    })
    .await;
    assert_eq!((&listed["link"], &listed["mode"], &listed["behind"]), (&json!("up"), &json!("all"), &json!(0)));
    assert_eq!(server.sandbox.get("/v1/sidecars").await.is(200)["data"], json!([]), "of another environment");
    drop(peer);
    let gone = until("its end is noted", async || {
        let page = server.live.get("/v1/sidecars").await.is(200);
        (page["data"][0]["link"] == "down").then(|| page["data"][0].clone())
    })
    .await;
    assert_eq!((&gone["id"], &gone["linked_at"]), (&listed["id"], &listed["linked_at"]));
    assert_eq!((&gone["staleness_ms"], &gone["accounts"]), (&json!(7), &json!(6)));
    assert_eq!(gone["outbox"], json!({"events": 5, "bytes": 400, "oldest_ms": 0}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_its_session() {
    let server = TestServer::start().await;
    let key = server.mint(Environment::Live, &[Scope::Sidecar], None).await;
    let greeting = hello(key.secret.expose_secret(), Mode::All, None);
    let mut peer = Peer::link(server.quic(), &server.ca_file(), greeting).await;
    server.operator.revoke_key(key.key_id).await.unwrap();
    let Some(ServerControl::Refused { code, .. }) = peer.from_server.next().await else { panic!("it is told why") };
    assert_eq!(code, "unauthenticated");
    peer.wire.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_one_environment_only() {
    let server = TestServer::start().await;
    grant(&server, "u", 10).await;
    let key = server.sandbox.key().unwrap();
    let peer = Peer::link(server.quic(), &server.ca_file(), hello(key, Mode::All, None)).await;
    assert!(peer.welcome.environment.ends_with("/sandbox"), "{}", peer.welcome.environment);
    assert_eq!(fetch(&peer, &end_user("u")).await.stamp, 0);
    assert!(states(&load(&mut peer.deltas().await).await.0).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_catalogue_flows_to_open_sessions() {
    let server = TestServer::start().await;
    let peer = peer(&server, Mode::All, None).await;
    let mut deltas = peer.deltas().await;
    load(&mut deltas).await;
    with_feature(&server).await;
    let is_catalogue = |delta: &Delta| matches!(delta, Delta::Catalogue { .. });
    let seen = deltas_until(&mut deltas, |seen| seen.iter().any(is_catalogue)).await;
    let Some(Delta::Catalogue { bytes, .. }) = seen.last() else { panic!("it came last") };
    assert_eq!(decode_catalogue(&bytes.0).unwrap().features.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_commits_flows_from_another() {
    let server = TestServer::start().await;
    let (other, client) = server.second(&server.live).await;
    let peer = peer(&server, Mode::All, None).await;
    let mut deltas = peer.deltas().await;
    load(&mut deltas).await;
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "kind": "promo", "amount": 7})).await.is(201);
    let seen = deltas_until(&mut deltas, |seen| !states(seen).is_empty()).await;
    assert_eq!(states(&seen).iter().map(|state| balance(state)).collect::<Vec<_>>(), [7]);
    other.stop().await;
}
