//! The plans of the statements that the server runs, as Postgres made them for its own connections (`auto_explain`):
//! over a filled database no statement reads a table of accounts but through an index, by its lane.
//!
//! That holds for whatever statement runs while every operation of openapi.yaml is called. The plans of the hot ones
//! are kept in tests/golden/plans, a file per table, for each major version of Postgres that they were ever looked at
//! with; `UPDATE_GOLDEN=1` writes them anew.
//!
//! - `fill`: a few thousand accounts with all that accounts can have
//! - `capture`: what Postgres says of each statement
//! - `plan`: what must hold of a plan, and its readable form
//! - `hot`: the operations whose plans are kept

mod capture;
pub(crate) mod fill;
mod hot;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quotastack_server::app::auth::Scope;
use quotastack_server::store::keys::Environment;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, PgConnection};

use self::capture::{Capture, Captured};
use self::plan::Tables;
use crate::coverage::call_every_operation;
use crate::support::server::TestServer;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/plans");
/// Where a database's settings do not say otherwise, a plan may hang on the machine that it is made on. The rest the
/// server sets for its own connections.
const PLANNER: [(&str, &str); 4] = [
    ("random_page_cost", "1.1"),
    ("effective_cache_size", "'4GB'"),
    ("work_mem", "'4MB'"),
    ("max_parallel_workers_per_gather", "0"),
];
/// Every statement's plan is sent to the connection that ran it, which the server's driver hands on to `tracing`.
const EXPLAIN: [(&str, &str); 5] = [
    ("session_preload_libraries", "'auto_explain'"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_nested_statements", "on"),
    ("auto_explain.log_format", "'json'"),
    ("auto_explain.log_level", "'notice'"),
];

/// What no server may run: everything of a table, and what belongs to no lane.
const BAD_STATEMENTS: [&str; 3] = [
    "select count(*) from entries",
    "select e.seq from accounts a join entries e on e.lane_id = a.lane_id and e.account_id = a.account_id
     where a.end_user_id = 'filled-1'",
    "update feed set feed_seq = feed_seq where account_id = '00000000-0000-0000-0000-000000000000'",
];

/// How statements begin that read a table anyhow, but only its first row.
const LOOKS_AT_ONE_ROW: [&str; 1] = ["select exists (select from account_requests_"];

/// How statements begin that are planned for their parameters: their plans are another matter in every run.
const PLANNED_FOR_SETS: [&str; 7] = [
    "with deltas as (",
    "select $4::bigint, feature_key",
    "insert into usage_property_values",
    // `ledger verify` holds sums and voids against usage.
    "with events as materialized (",
    "with kept as materialized (",
    "select date_trunc('month', at",
    "select usage_id from (select usage_id from usage_voids",
];

/// What those statements of `ledger verify` select that hold records against entries, a page of accounts at a time.
const VERIFIED: &str = " as record, ";

fn is_planned_for_sets(text: &str) -> bool {
    PLANNED_FOR_SETS.iter().any(|start| text.starts_with(start)) || text.contains(VERIFIED)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_finds_the_rows_of_accounts_by_their_lane() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    count_rows_only_when_told(&mut owner).await;
    let filled = fill::fill(&server).await;
    let tables = Tables::read(&mut owner).await;
    // Every table that accounts have rows in must have some, or its plans say nothing.
    call_every_operation(&new_sandbox(&server).await).await;
    fill::copy_into_other_lanes(&mut owner, &tables).await;
    set(&mut owner, PLANNER.into_iter().chain(EXPLAIN)).await;

    let capture = Capture::start();
    let mut explained = server.owner().await;
    for sql in BAD_STATEMENTS {
        sqlx::query(sql).execute(&mut explained).await.unwrap();
    }
    assert_bad_statements_are_found(&capture.take(), &tables);
    let mut faults = Vec::new();
    let (second, client) = server.second(&server.sandbox).await;
    let mut hot = hot::run(&server, &client, &filled, &capture).await;
    hot.retain(|captured| !LOOKS_AT_ONE_ROW.iter().any(|start| captured.text.starts_with(start)));
    // A tenant that nothing was asked of yet; with the same server, and so the same settings.
    let newcomer = client.with_key(new_sandbox(&server).await.key().unwrap());
    capture.take();
    call_every_operation(&newcomer).await;
    for captured in hot.iter().chain(&capture.take()) {
        let of_this = tables.faults(&captured.plan).into_iter();
        faults.extend(of_this.map(|fault| format!("{fault}:\n{}", plan::wrapped(&captured.text))));
    }
    hot.retain(|captured| !is_planned_for_sets(&captured.text));
    let golden = readable(&hot, &tables);
    second.stop().await;
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    compare(&mut owner, &golden).await;
}

/// Plans must not hang on whether Postgres counts the rows by itself meanwhile.
async fn count_rows_only_when_told(owner: &mut PgConnection) {
    let sql = "do $$ declare t record; begin
        for t in select oid::regclass as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace loop
            execute format('alter table %s set (autovacuum_enabled = false)', t.name);
        end loop; end $$";
    sqlx::raw_sql(sql).execute(owner).await.unwrap();
}

async fn new_sandbox(server: &TestServer) -> crate::support::client::Client {
    let tenant = server.operator.create_tenant("a newcomer").await.unwrap().tenant_id;
    let key = server.operator.create_key(tenant, Environment::Sandbox, "all", &[Scope::Full], None).await.unwrap();
    server.client_of(Some(key.secret.expose_secret()))
}

/// Settings of the database, for connections that are made from now on.
async fn set(owner: &mut PgConnection, settings: impl IntoIterator<Item = (&str, &str)>) {
    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&mut *owner).await.unwrap();
    for (setting, value) in settings {
        let sql = format!("alter database {name} set {setting} = {value}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *owner).await.unwrap();
    }
}

/// Each statement on tables of accounts once, with its plan, under the table that it is about.
fn readable(captured: &[Captured], tables: &Tables) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for Captured { text: statement, plan } in captured {
        let shown = format!("{}\n{}\n", plan::wrapped(statement), tables.readable(plan));
        if let Some(table) = tables.first_used_by(plan)
            && seen.insert(shown.clone())
        {
            texts.entry(table.to_owned()).or_default().push_str(&shown);
        }
    }
    texts
}

/// What the test looks for is found where it is.
#[track_caller]
fn assert_bad_statements_are_found(bad: &[Captured], tables: &Tables) {
    assert_eq!(bad.len(), BAD_STATEMENTS.len());
    for captured in bad {
        assert!(!tables.faults(&captured.plan).is_empty(), "{}", captured.text);
    }
}

/// Holds the plans of the hot statements against those that are kept, or writes them anew.
async fn compare(owner: &mut PgConnection, golden: &BTreeMap<String, String>) {
    let sql = "select current_setting('server_version_num')::int4";
    let number: i32 = sqlx::query_scalar(sql).fetch_one(owner).await.unwrap();
    let dir = PathBuf::from(format!("{GOLDEN}/postgres-{}", number / 10_000));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in golden {
            std::fs::write(dir.join(name).with_extension("txt"), text).unwrap();
        }
    }
    if !dir.exists() {
        assert!(Path::new(GOLDEN).exists(), "no plans are kept at all; UPDATE_GOLDEN=1 writes them");
        println!("no plans are kept for this version of Postgres: {}", dir.display());
        return;
    }
    let kept: BTreeMap<String, String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|file| (file.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&file).unwrap()))
        .collect();
    let names: BTreeSet<&String> = golden.keys().chain(kept.keys()).collect();
    let changed = names.into_iter().filter(|name| golden.get(*name) != kept.get(*name));
    let changed: Vec<String> =
        changed.map(|name| format!("{name}:\n{}", golden.get(name).map_or("", String::as_str))).collect();
    assert!(changed.is_empty(), "plans changed; UPDATE_GOLDEN=1 keeps the new ones. {}", changed.join("\n"));
}
