//! What SQL itself holds, whatever the code above it does: rows of one environment for its transactions only, and a
//! history that can only grow.

use quotastack_server::store::types::EnvironmentId;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::client::Client;
use crate::support::server::TestServer;

/// What belongs to no tenant: the migrations that were run, and the one row that names this database's history.
const OF_NO_TENANT: [&str; 2] = ["_sqlx_migrations", "history"];
/// What the operator's commands may see.
const OPERATORS: [&str; 4] = ["api_keys", "environments", "lanes", "tenants"];
const APPEND_ONLY: [&str; 9] = [
    "account_requests",
    "catalogue_requests",
    "entries",
    "entry_reasons",
    "events",
    "feature_prices",
    "usage_events",
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

async fn tenant_tables(connection: &mut PgConnection) -> Vec<String> {
    let sql = "select relname::text from pg_class
               where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by relname";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await.unwrap();
    tables.into_iter().filter(|name| !OF_NO_TENANT.contains(&name.as_str())).collect()
}

/// Rows in every table.
async fn fill(client: &Client) {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1}});
    client.post("/v1/features", &feature).await.is(201);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = json!({"name": "m", "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}]});
    let variant = client.post(&variants, &variant).await.is(201);
    client.post("/v1/subscriptions", &json!({"end_user_id": "u", "plan_variant_id": variant["id"]})).await.is(201);
    let usage = client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(200);
    client
        .post(&format!("/v1/usage/{}/void", usage["id"].as_str().unwrap()), &json!({"reason": "wrong"}))
        .await
        .is(200);
    client.post("/v1/reservations", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(201);
    let topup = json!({"end_user_id": "u", "amount": 5, "price_paid": 1, "currency": "USD", "payment_reference": "pi"});
    client.post("/v1/topups", &topup).await.is(201);
    let package = json!({"name": "P", "amount": 5, "price_paid": 1, "currency": "USD"});
    client.post("/v1/topup_packages", &package).await.is(201);
}

/// A server with rows of two environments in every table, a connection as the owner, and both environments.
async fn filled() -> (TestServer, PgConnection, [EnvironmentId; 2]) {
    let server = TestServer::start().await;
    let mut environments = [EnvironmentId(0); 2];
    for (client, environment) in [&server.live, &server.sandbox].into_iter().zip(&mut environments) {
        fill(client).await;
        let (app, principal) = server.app(client).await;
        *environment = principal.environment_id;
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
    assert!(tenant_tables(&mut owner).await.len() >= 17);

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
    for table in ["accounts", "blocks", "subscriptions", "feed", "lanes", "features", "plans"] {
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
    act_as_app(&mut connection, one).await;
    for table in APPEND_ONLY {
        let update = format!("update {table} set environment_id = environment_id");
        assert_eq!(run(&mut connection, &update).await, Err(NOT_PERMITTED.to_owned()), "{table}");
    }
    for table in tables.iter().map(String::as_str).chain(["history"]) {
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
async fn only_two_narrow_functions_look_across_tenants() {
    let (_server, mut connection, _) = filled().await;
    let sql = "select proname::text from pg_proc where prosecdef and pronamespace = 'public'::regnamespace
               and pg_get_userbyid(proowner) = 'quotastack_definer'
               and proconfig = array['search_path=public, pg_temp'] order by 1";
    let narrow: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    assert_eq!(narrow, ["find_api_key", "lane_positions"]);
    let all = "select count(*) from pg_proc where prosecdef and pronamespace = 'public'::regnamespace";
    assert_eq!(rows(&mut connection, all).await, 2);
    let open = "select count(*) from pg_proc where prosecdef and pronamespace = 'public'::regnamespace
                and has_function_privilege('public', oid, 'execute')";
    assert_eq!(rows(&mut connection, open).await, 0);
    run(&mut connection, "set role quotastack_definer").await.unwrap();
    for table in ["accounts", "entries", "usage_events", "tenants"] {
        let read = run(&mut connection, &format!("select * from {table}")).await;
        assert_eq!(read, Err(NOT_PERMITTED.to_owned()), "{table}");
    }
}
