//! The worker that writes down what time has done: once, in order, whoever runs it and whenever it is killed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use quotastack_core::ledger::entry::{Entry, EntryKind};
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use quotastack_server::app::auth::Principal;
use quotastack_server::app::{App, clock};
use quotastack_server::store::types::EnvironmentId;
use quotastack_server::workers::due::DueWorker;
use quotastack_server::workers::{Workers, WorkersConfig};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::wait::until;
use crate::writer::create_feature;

/// Where the sandboxes of these tests stand at first.
pub(crate) const START: &str = "2100-01-01T00:00:00Z";
const LATER: &str = "2101-01-01T00:00:00Z";

pub(crate) fn minutes_after_start(minutes: u64) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start.saturating_add_micros(minutes.cast_signed() * 60 * MICROS_PER_SECOND)
}

/// `users` end users, the block of each of which expires a minute after that of the one before.
pub(crate) async fn grant_to_all(client: &Client, users: u64) {
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    for chunk in (0..users).collect::<Vec<_>>().chunks(16) {
        let mut grants = JoinSet::new();
        for user in chunk.iter().copied() {
            let client = client.clone();
            let body = json!({"end_user_id": format!("u{user}"), "amount": 10,
                "expires_at": minutes_after_start(user + 1)});
            grants.spawn(async move { client.post("/v1/credits/grants", &body).await.is(201) });
        }
        grants.join_all().await;
    }
}

/// What a server leaves that is killed just after it has set a sandbox's clock.
pub(crate) async fn set_clock_and_die(owner: &mut PgConnection, EnvironmentId(id): EnvironmentId, now: &str) {
    sqlx::query(
        "update environments set clock_standing_at = $1::text::timestamptz, clock_ahead_micros = 0,
           catalogue_version = catalogue_version + 1 where environment_id = $2",
    )
    .bind(now)
    .bind(id)
    .execute(owner)
    .await
    .unwrap();
}

/// The events of a kind in the order of the feed: lane, whose account, when, in microseconds.
pub(crate) async fn events(owner: &mut PgConnection, kind: &str) -> Vec<(i64, Uuid, i64)> {
    let rows = sqlx::query(
        "select lane_id, account_id, (extract(epoch from occurred_at) * 1000000)::bigint as at from events
         where type = $1 order by lane_id, feed_seq, place",
    )
    .bind(kind)
    .fetch_all(owner)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get("lane_id"), row.get("account_id"), row.get("at"))).collect()
}

async fn worker(server: &TestServer, client: &Client) -> (Arc<App>, Principal, DueWorker) {
    let (app, principal) = server.app(client).await;
    let worker = DueWorker::new(Arc::clone(&app), CancellationToken::new());
    (app, principal, worker)
}

async fn rounds(worker: &mut DueWorker) {
    while !worker.round().await.unwrap() {}
}

fn expiries(entries: &[Entry]) -> Vec<Timestamp> {
    let expired = entries.iter().filter(|entry| entry.body.kind == EntryKind::Expire);
    expired.map(|entry| entry.body.effective_at).collect()
}

/// Every user's block has expired, once, at its instant, and that was announced once.
pub(crate) async fn all_expired_once(server: &TestServer, client: &Client, users: u64) {
    let mut owner = server.owner().await;
    let announced = events(&mut owner, "credits.expired").await;
    let mut accounts: Vec<Uuid> = announced.iter().map(|(_, account, _)| *account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    assert_eq!((announced.len() as u64, accounts.len() as u64), (users, users));
    // Each user's instant is one of its own.
    let mut instants: Vec<i64> = announced.iter().map(|(.., at)| *at).collect();
    instants.sort_unstable();
    let due: Vec<i64> = (1..=users).map(|minute| minutes_after_start(minute).as_micros()).collect();
    assert_eq!(instants, due);
    for user in [0, users / 2, users - 1] {
        let entries = server.verified_entries(client, &format!("u{user}")).await;
        assert_eq!(expiries(&entries), [minutes_after_start(user + 1)]);
    }
    let sql = "select count(*) from entries where kind = 'expire'";
    let written: i64 = sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap();
    assert_eq!(written.unsigned_abs(), users);
    let sql = "select count(*) from due where next_due is not null";
    let left: i64 = sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_nobody_reads_is_written_and_announced_with_the_instant_it_was_due() {
    let server = TestServer::start().await;
    let live = &server.live;
    create_feature(live).await;
    let ends = clock::now().saturating_add_micros(MICROS_PER_SECOND);
    live.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 5, "expires_at": ends})).await.is(201);
    live.post("/v1/credits/grants", &json!({"end_user_id": "v", "amount": 5})).await.is(201);
    let hold = json!({"end_user_id": "v", "feature_key": "f", "units": 2, "ttl_seconds": 1});
    let hold = live.post("/v1/reservations", &hold).await.is(201);
    let (app, _) = server.app(live).await;
    let workers = Workers::start(&app, WorkersConfig { due_interval: Duration::from_millis(20) });
    let mut owner = server.owner().await;
    for (kind, at) in [("credits.expired", &json!(ends)), ("reservation.expired", &hold["expires_at"])] {
        let seen = until("it is announced", async || events(&mut owner, kind).await.pop()).await;
        let at: Timestamp = at.as_str().unwrap().parse().unwrap();
        assert_eq!(seen.2, at.as_micros(), "{kind}");
    }
    workers.stop().await;
    assert_eq!(expiries(&server.verified_entries(live, "u").await), [ends]);
    let entries = server.verified_entries(live, "v").await;
    assert_eq!(entries.last().unwrap().body.kind, EntryKind::HoldExpired);
    assert_eq!(entries.last().unwrap().balance_after.get(), 5);
    app.stop().await;
}

#[tokio::test]
async fn a_subscription_that_is_over_is_announced_and_its_block_with_it() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}]});
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = client.post(&variants, &variant).await.is(201);
    client.post("/v1/subscriptions", &json!({"end_user_id": "u", "plan_variant_id": variant["id"]})).await.is(201);
    let (app, principal, mut worker) = worker(&server, client).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, LATER).await;
    rounds(&mut worker).await;
    let end: Timestamp = "2100-02-01T00:00:00Z".parse().unwrap();
    for kind in ["subscription.expired", "credits.expired"] {
        let at: Vec<i64> = events(&mut owner, kind).await.into_iter().map(|(.., at)| at).collect();
        assert_eq!(at, [end.as_micros()], "{kind}");
    }
    assert_eq!(expiries(&server.verified_entries(client, "u").await), [end]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_at_once_write_it_once() {
    const USERS: u64 = 230;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, USERS).await;
    let (one, principal, mut first) = worker(&server, client).await;
    let (two, _, mut second) = worker(&server, client).await;
    let (id, now) = (principal.environment_id, LATER.parse().unwrap());
    set_clock_and_die(&mut server.owner().await, id, LATER).await;
    // The leases share the work out; without them, as a call that sets the clock, it is still right.
    let patience = Duration::from_secs(600);
    let (_, _, one_done, two_done) = tokio::join!(
        rounds(&mut first),
        rounds(&mut second),
        one.write_all_due(id, now, patience),
        two.write_all_due(id, now, patience)
    );
    one_done.unwrap();
    two_done.unwrap();
    all_expired_once(&server, client, USERS).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn what_a_killed_worker_left_is_caught_up_in_order_when_its_lease_is_over() {
    // More than a page in each lane.
    const USERS: u64 = 260;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, USERS).await;
    let (killed, principal, _) = worker(&server, client).await;
    let (app, _, mut worker) = worker(&server, client).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, LATER).await;
    let lane = killed.due_lanes(None).await.unwrap().remove(0);
    let holder = Uuid::from_bytes(clock::random());
    let environment = killed.lease_due_lane(&lane, holder, Duration::from_secs(600)).await.unwrap().unwrap();
    let nobody = HashSet::new();
    let page = killed.write_due_page(&environment, lane.number, lane.present, None, &nobody);
    let page = page.await.unwrap();
    assert!(page.next.is_some() && page.failed.is_empty());
    killed.stop().await;

    rounds(&mut worker).await;
    let left = app.due_lanes(None).await.unwrap();
    assert_eq!(left.iter().map(|left| left.lane_id).collect::<Vec<_>>(), [lane.lane_id]);
    assert!(left[0].next_due > lane.next_due);
    sqlx::query("update worker_leases set until = until - interval '1 hour'").execute(&mut owner).await.unwrap();
    rounds(&mut worker).await;
    assert!(app.due_lanes(None).await.unwrap().is_empty());

    all_expired_once(&server, client, USERS).await;
    let announced = events(&mut owner, "credits.expired").await;
    let in_order = announced.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0].2 < pair[1].2);
    assert!(in_order, "{announced:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_write_while_many_accounts_are_due() {
    const USERS: u64 = 230;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client).await;
    grant_to_all(client, USERS).await;
    let (app, principal, mut worker) = worker(&server, client).await;
    set_clock_and_die(&mut server.owner().await, principal.environment_id, LATER).await;
    let mut calls = JoinSet::new();
    for number in 0..USERS {
        let client = client.clone();
        let body = json!({"end_user_id": format!("u{number}"), "feature_key": "f", "units": 1, "idempotency_key": "k"});
        calls.spawn(async move {
            let mut answer = client.post("/v1/usage", &body).await;
            while answer.status == 503 {
                answer = client.post("/v1/usage", &body).await;
            }
            answer.is(200)
        });
    }
    let (answers, ()) = tokio::join!(calls.join_all(), rounds(&mut worker));
    // Whoever came first, the credit was gone.
    assert!(answers.iter().all(|answer| answer["balance"] == -1), "{answers:?}");
    all_expired_once(&server, client, USERS).await;
    app.stop().await;
}

#[tokio::test]
async fn where_nothing_is_due_nothing_is_written() {
    let server = TestServer::start().await;
    for client in [&server.live, &server.sandbox] {
        create_feature(client).await;
        for body in [
            json!({"end_user_id": "u", "amount": 5}),
            json!({"end_user_id": "v", "amount": 5, "expires_at": LATER}),
            json!({"end_user_id": "w", "amount": 5, "effective_at": LATER}),
        ] {
            client.post("/v1/credits/grants", &body).await.is(201);
        }
    }
    let (app, _, mut worker) = worker(&server, &server.live).await;
    let digest = async || {
        let sql = "select string_agg(l::text || x, ' ' order by lane_id) from (select l, l.xmin::text as x, lane_id from lanes l) t";
        let lanes: String = sqlx::query_scalar(sql).fetch_one(&mut server.owner().await).await.unwrap();
        (server.row_counts().await, lanes)
    };
    let before = digest().await;
    for _ in 0..3 {
        rounds(&mut worker).await;
    }
    assert_eq!(digest().await, before);
    app.stop().await;
}

#[tokio::test]
async fn a_block_that_a_hold_protects_is_looked_at_once_and_again_when_the_hold_ends() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client).await;
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    let ends = minutes_after_start(1);
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 5, "expires_at": ends})).await.is(201);
    let hold = json!({"end_user_id": "u", "feature_key": "f", "units": 5, "ttl_seconds": 600});
    let hold = client.post("/v1/reservations", &hold).await.is(201);
    let (app, principal, mut worker) = worker(&server, client).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, "2100-01-01T00:02:00Z").await;
    assert_eq!(app.due_lanes(None).await.unwrap().len(), 1);
    rounds(&mut worker).await;
    assert!(app.due_lanes(None).await.unwrap().is_empty());
    assert!(expiries(&server.verified_entries(client, "u").await).is_empty());
    let sql = "select next_due = $1::text::timestamptz from due where next_due is not null";
    let until_hold: bool =
        sqlx::query_scalar(sql).bind(hold["expires_at"].as_str().unwrap()).fetch_one(&mut owner).await.unwrap();
    assert!(until_hold);
    // What is written meanwhile does not bring the old instant back.
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 1})).await.is(201);
    assert!(app.due_lanes(None).await.unwrap().is_empty());
    set_clock_and_die(&mut owner, principal.environment_id, "2100-01-01T00:10:00Z").await;
    rounds(&mut worker).await;
    let hold_end: Timestamp = hold["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expiries(&server.verified_entries(client, "u").await), [hold_end]);
    app.stop().await;
}

#[tokio::test]
async fn a_clock_that_went_back_moves_no_account_back() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, 3).await;
    let (app, principal, mut worker) = worker(&server, client).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, "2100-01-01T00:02:30Z").await;
    rounds(&mut worker).await;
    set_clock_and_die(&mut owner, principal.environment_id, START).await;
    let before = server.row_counts().await;
    rounds(&mut worker).await;
    assert_eq!(server.row_counts().await, before);
    // What is written now counts where the lane is, and what had expired stays so.
    client.post("/v1/credits/grants", &json!({"end_user_id": "u0", "amount": 1})).await.is(201);
    assert_eq!(client.get("/v1/end_users/u0/credits").await.is(200)["balance"], 1);
    let entries = server.verified_entries(client, "u0").await;
    assert!(entries.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at), "{entries:?}");
    set_clock_and_die(&mut owner, principal.environment_id, LATER).await;
    rounds(&mut worker).await;
    all_expired_once(&server, client, 3).await;
    app.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_be_written_does_not_hold_up_the_others() {
    const USERS: u64 = 20;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, USERS).await;
    let (app, principal, mut worker) = worker(&server, client).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, LATER).await;
    // The first one that is due.
    let sql = "alter table entries add constraint poison
               check (kind <> 'expire' or effective_at <> '2100-01-01T00:01:00Z'::timestamptz)";
    sqlx::raw_sql(sql).execute(&mut owner).await.unwrap();
    rounds(&mut worker).await;
    assert_eq!(events(&mut owner, "credits.expired").await.len() as u64, USERS - 1);
    let left = app.due_lanes(None).await.unwrap();
    assert_eq!((left.len(), left[0].next_due), (1, minutes_after_start(1)));
    // While it rests, what becomes due in its lane is written all the same.
    client.post("/v1/sandbox/clock", &json!({ "now": LATER })).await.refused(500, "internal");
    for user in 0..4 {
        let body = json!({"end_user_id": format!("v{user}"), "amount": 1, "expires_at": "2101-01-01T00:00:01Z"});
        client.post("/v1/credits/grants", &body).await.is(201);
    }
    set_clock_and_die(&mut owner, principal.environment_id, "2101-01-01T00:00:01Z").await;
    rounds(&mut worker).await;
    assert_eq!(events(&mut owner, "credits.expired").await.len() as u64, USERS - 1 + 4);
    sqlx::raw_sql("alter table entries drop constraint poison").execute(&mut owner).await.unwrap();
    let (other, _, mut after) = self::worker(&server, client).await;
    rounds(&mut after).await;
    assert_eq!(events(&mut owner, "credits.expired").await.len() as u64, USERS + 4);
    assert!(app.due_lanes(None).await.unwrap().is_empty());
    assert_eq!(expiries(&server.verified_entries(client, "u0").await), [minutes_after_start(1)]);
    app.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_million_accounts_with_nothing_due_are_neither_looked_at_nor_written() {
    let server = TestServer::start().await;
    let (app, principal, mut worker) = worker(&server, &server.live).await;
    let mut owner = server.owner().await;
    sqlx::query(
        "insert into due (lane_id, account_id, environment_id, next_due)
         select (select min(lane_id) from lanes where environment_id = $1), lpad(to_hex(n), 32, '0')::uuid, $1, null
         from generate_series(1, 1000000) as n",
    )
    .bind(principal.environment_id.0)
    .execute(&mut owner)
    .await
    .unwrap();
    sqlx::raw_sql("analyze due").execute(&mut owner).await.unwrap();
    let size = "select pg_relation_size('due')";
    let before: i64 = sqlx::query_scalar(size).fetch_one(&mut owner).await.unwrap();
    rounds(&mut worker).await;
    let after: i64 = sqlx::query_scalar(size).fetch_one(&mut owner).await.unwrap();
    assert_eq!(before, after);
    // What the worker asks, as it is stored.
    let body: String = sqlx::query_scalar("select prosrc from pg_proc where proname = 'due_lanes'")
        .fetch_one(&mut owner)
        .await
        .unwrap();
    let body = body.replace("real_now", "now()").replace("after_lane", "0").replace("lanes_max", "500");
    let plan = sqlx::query(AssertSqlSafe(format!("explain {body}"))).fetch_all(&mut owner).await.unwrap();
    let plan: String = plan.iter().map(|row| row.get::<String, _>(0) + "\n").collect();
    assert!(plan.contains("due_in_order") && !plan.contains("Seq Scan on due"), "{plan}");
    app.stop().await;
}

#[tokio::test]
async fn accounts_from_before_are_put_right_at_the_first_look() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    for (user, ends) in [("u", json!(LATER)), ("v", Value::Null)] {
        let body = json!({"end_user_id": user, "amount": 5, "expires_at": ends});
        client.post("/v1/credits/grants", &body).await.is(201);
    }
    let mut owner = server.owner().await;
    // As the migration leaves them, and one more that has nothing due.
    let sql = "insert into due (lane_id, account_id, environment_id, next_due)
               select lane_id, account_id, environment_id, advanced_to from accounts
               on conflict (lane_id, account_id) do update set next_due = excluded.next_due";
    sqlx::raw_sql(sql).execute(&mut owner).await.unwrap();
    let entries = server.row_counts().await["entries"];
    let (app, _, mut worker) = worker(&server, client).await;
    rounds(&mut worker).await;
    assert!(app.due_lanes(None).await.unwrap().is_empty());
    assert_eq!(server.row_counts().await["entries"], entries);
    for user in ["u", "v"] {
        // Compares `due` with the wallet, too.
        server.verified_entries(client, user).await;
    }
    app.stop().await;
}
