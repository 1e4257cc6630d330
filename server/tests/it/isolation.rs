//! What SQL itself holds, whatever the code above it does: rows of one environment for its transactions only, and a
//! history that can only grow.

use std::time::Duration;

use quotastack_core::wire::Mode;
use quotastack_server::store::types::EnvironmentId;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::support::client::Client;
use crate::support::peer::hello;
use crate::support::server::TestServer;

/// What belongs to no tenant: the migrations that were run, and the one row that names this database's history.
const OF_NO_TENANT: [&str; 2] = ["_sqlx_migrations", "history"];
/// What the operator's commands may see.
const OPERATORS: [&str; 4] = ["api_keys", "environments", "lanes", "tenants"];
const APPEND_ONLY: [&str; 12] = [
    "account_requests",
    "catalogue_requests",
    "checkpoint_blocks",
    "checkpoints",
    "entries",
    "entry_reasons",
    "events",
    "feature_prices",
    "usage_events",
    "usage_property_values",
    "usage_voids",
    "variants",
];
const NOT_PERMITTED: &str = "42501";

async fn rows(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.map(|done| done.rows_affected())
        .map_err(|error| error.as_database_error().unwrap().code().unwrap().into_owned())
}

/// Without the parts of other tables, of which [`partitions`] are.
async fn tenant_tables(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select relname::text from pg_class where relkind in ('r', 'p') and not relispartition
               and relnamespace = 'public'::regnamespace order by relname";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await.unwrap();
    tables.into_iter().filter(|name| !OF_NO_TENANT.contains(&name.as_str())).collect()
}

async fn partitions(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select relname::text from pg_class where relispartition and relkind in ('r', 'p')
               and relnamespace = 'public'::regnamespace order by relname";
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// Rows in every table.
async fn fill(client: &Client) {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1},
        "summary_properties": ["p"]});
    client.post("/v1/features", &feature).await.is(201);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}]});
    let variant = client.post(&variants, &variant).await.is(201);
    client.post("/v1/subscriptions", &json!({"end_user_id": "u", "plan_variant_id": variant["id"]})).await.is(201);
    let usage = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "properties": {"p": "v"}});
    let usage = client.post("/v1/usage", &usage).await.is(200);
    client
        .post(&format!("/v1/usage/{}/void", usage["id"].as_str().unwrap()), &json!({"reason": "wrong"}))
        .await
        .is(200);
    client.post("/v1/reservations", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(201);
    let topup = json!({"end_user_id": "u", "amount": 5, "price_paid": 1, "currency": "USD", "payment_reference": "pi"});
    client.post("/v1/topups", &topup).await.is(201);
    let package = json!({"name": "P", "amount": 5, "price_paid": 1, "currency": "USD"});
    client.post("/v1/topup_packages", &package).await.is(201);
    // A checkpoint, with a block that is used up by it.
    for (amount, priority) in [(1, 0), (1_000, 100)] {
        let grant = json!({"end_user_id": "u", "amount": amount, "priority": priority});
        client.post("/v1/credits/grants", &grant).await.is(201);
    }
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
    client.post("/v1/usage/batch", &json!({"events": vec![event; 1_000]})).await.is(200);
    client.get("/v1/end_users/u/credits?as_of_seq=1000").await.is(200);
}

/// Something that is due, for the leases of the worker.
async fn make_due(owner: &mut PgConnection) {
    run(owner, "update due set next_due = '2020-01-01T00:00:00Z'::timestamptz").await.unwrap();
}

/// A server with rows of two environments in every table, a connection as the owner, and both environments.
async fn filled() -> (TestServer, PgConnection, [EnvironmentId; 2]) {
    let server = TestServer::start().await;
    let mut environments = [EnvironmentId(0); 2];
    for (client, environment) in [&server.live, &server.sandbox].into_iter().zip(&mut environments) {
        fill(client).await;
        make_due(&mut server.owner().await).await;
        let (app, principal) = server.app(client).await;
        *environment = principal.environment_id;
        for lane in app.due_lanes(None).await.unwrap() {
            app.lease_due_lane(&lane, Uuid::nil(), Duration::from_secs(1)).await.unwrap();
        }
        while app.roll_up_round().await.unwrap() {}
        app.begin_link(*environment, &hello(client.key().unwrap(), Mode::All, None)).await;
        app.stop().await;
    }
    let mut owner = server.owner().await;
    for table in tenant_tables(&mut owner).await {
        assert!(rows(&mut owner, &format!("select count(*) from {table}")).await > 0, "{table} has no row to be seen");
    }
    (server, owner, environments)
}

async fn act_as_app(connection: &mut PgConnection, EnvironmentId(id): EnvironmentId) {
    run(connection, "set role quotastack_app").await.unwrap();
    run(connection, &format!("set quotastack.environment_id = '{id}'")).await.unwrap();
}

#[tokio::test]
async fn every_table_has_forced_row_security() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    let sql = "select relname::text from pg_class where relkind in ('r', 'p') and relname <> '_sqlx_migrations'
               and relnamespace = 'public'::regnamespace and not (relrowsecurity and relforcerowsecurity)";
    let open: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut owner).await.unwrap();
    assert!(open.is_empty(), "without row security: {open:?}");
    assert!(tenant_tables(&mut owner).await.len() >= 20);

    let roles =
        "select count(*) from pg_roles where rolname in ('quotastack_app', 'quotastack_admin', 'quotastack_definer')
                 and (rolsuper or rolbypassrls or rolcreaterole or rolcanlogin)";
    assert_eq!(rows(&mut owner, roles).await, 0);
}

#[tokio::test]
async fn a_transaction_sees_the_rows_of_its_own_environment_and_without_one_nothing() {
    let (_server, mut connection, [one, other]) = filled().await;
    let tables = tenant_tables(&mut connection).await;
    run(&mut connection, "set role quotastack_app").await.unwrap();
    for table in &tables {
        assert_eq!(rows(&mut connection, &format!("select count(*) from {table}")).await, 0, "{table}");
    }
    for (own, foreign) in [(one, other), (other, one)] {
        act_as_app(&mut connection, own).await;
        for table in tables.iter().filter(|table| *table != "tenants") {
            let all = rows(&mut connection, &format!("select count(*) from {table}")).await;
            let sql = format!("select count(*) from {table} where environment_id = {}", own.0);
            assert!(all > 0 && all == rows(&mut connection, &sql).await, "{table}");
            let sql = format!("select count(*) from {table} where environment_id = {}", foreign.0);
            assert_eq!(rows(&mut connection, &sql).await, 0, "{table}");
        }
        assert_eq!(rows(&mut connection, "select count(*) from tenants").await, 1);
    }
    act_as_app(&mut connection, EnvironmentId(1)).await;
    for table in &tables {
        assert_eq!(rows(&mut connection, &format!("select count(*) from {table}")).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_transaction_cannot_write_rows_of_another_environment() {
    let (_server, mut connection, [one, other]) = filled().await;
    act_as_app(&mut connection, one).await;
    for table in [
        "accounts",
        "blocks",
        "due",
        "subscriptions",
        "feed",
        "lanes",
        "features",
        "plans",
        "worker_leases",
        "usage_rollups",
    ] {
        let give_away = format!("update {table} set environment_id = {}", other.0);
        assert_eq!(run(&mut connection, &give_away).await, Err(NOT_PERMITTED.to_owned()), "{table}");
        let take = format!("update {table} set environment_id = environment_id where environment_id = {}", other.0);
        assert_eq!(run(&mut connection, &take).await, Ok(0), "{table}");
    }
    let smuggle = format!(
        "insert into events (lane_id, feed_seq, place, event_id, environment_id, account_id, occurred_at, type, data)
         values (1, 1, 1, gen_random_uuid(), {}, gen_random_uuid(), now(), 'x', '{{}}')",
        other.0
    );
    assert_eq!(run(&mut connection, &smuggle).await, Err(NOT_PERMITTED.to_owned()));
}

#[tokio::test]
async fn the_history_can_be_added_to_and_nothing_else() {
    let (_server, mut connection, [one, _]) = filled().await;
    let tables = tenant_tables(&mut connection).await;
    let partitions = partitions(&mut connection).await;
    assert_eq!(partitions.len(), 6);
    act_as_app(&mut connection, one).await;
    // Nobody gets around the rules of the whole by way of its parts.
    for table in &partitions {
        assert_eq!(
            run(&mut connection, &format!("select * from {table}")).await,
            Err(NOT_PERMITTED.to_owned()),
            "{table}"
        );
    }
    for table in APPEND_ONLY {
        let update = format!("update {table} set environment_id = environment_id");
        assert_eq!(run(&mut connection, &update).await, Err(NOT_PERMITTED.to_owned()), "{table}");
    }
    for table in tables.iter().chain(&partitions).map(String::as_str).chain(["history"]) {
        for sql in [format!("delete from {table}"), format!("truncate {table} cascade"), format!("drop table {table}")]
        {
            assert_eq!(run(&mut connection, &sql).await, Err(NOT_PERMITTED.to_owned()), "{sql}");
        }
    }
}

#[tokio::test]
async fn the_operator_sees_tenants_and_keys_and_nothing_of_an_account() {
    let (_server, mut connection, _) = filled().await;
    let tables = tenant_tables(&mut connection).await;
    run(&mut connection, "set role quotastack_admin").await.unwrap();
    for table in &tables {
        let read = run(&mut connection, &format!("select * from {table}")).await;
        assert_eq!(read.is_ok(), OPERATORS.contains(&table.as_str()), "{table}: {read:?}");
    }
    assert_eq!(rows(&mut connection, "select count(*) from environments").await, 2);
}

#[tokio::test]
async fn only_a_few_narrow_functions_look_across_tenants() {
    const NARROW: [&str; 7] = [
        "due_lanes",
        "empty_request_slot",
        "find_api_key",
        "forget_catalogue_requests",
        "forget_sidecars",
        "lane_positions",
        "lanes_to_roll_up",
    ];
    let (_server, mut connection, _) = filled().await;
    let sql = "select proname::text from pg_proc where prosecdef and pronamespace = 'public'::regnamespace
               and pg_get_userbyid(proowner) = 'quotastack_definer'
               and 'search_path=public, pg_temp' = any (proconfig) order by 1";
    let narrow: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    assert_eq!(narrow, NARROW);
    let all = "select count(*) from pg_proc where prosecdef and pronamespace = 'public'::regnamespace";
    assert_eq!(rows(&mut connection, all).await, 7);
    let open = "select count(*) from pg_proc where prosecdef and pronamespace = 'public'::regnamespace
                and has_function_privilege('public', oid, 'execute')";
    assert_eq!(rows(&mut connection, open).await, 0);
    run(&mut connection, "set role quotastack_definer").await.unwrap();
    for sql in [
        "select * from accounts",
        "select * from entries",
        "select * from usage_events",
        "select * from usage_rollups",
        "select * from tenants",
        "select account_id from due",
        "select answer from catalogue_requests",
        "delete from account_requests",
        "truncate accounts",
    ] {
        assert_eq!(run(&mut connection, sql).await, Err(NOT_PERMITTED.to_owned()), "{sql}");
    }
}

/// The page says what every index grows with; one that it does not know was added without a thought for its size.
#[tokio::test]
async fn every_index_is_on_the_ledgers_page() {
    let page = include_str!("../../../docs/ledger.md");
    let (_server, mut connection, _) = filled().await;
    let sql = "select c.relname::text from pg_index i join pg_class c on c.oid = i.indexrelid
               where c.relnamespace = 'public'::regnamespace and not c.relispartition
                 and not exists (select from pg_constraint where conindid = c.oid) order by 1";
    let indexes: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    assert!(!indexes.is_empty());
    let missing: Vec<_> = indexes.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/ledger.md, \"What grows with what\", does not name {missing:?}");
}
