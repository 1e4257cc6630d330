//! `ledger verify`: it finds nothing in a ledger that was written by the rules, and each kind of tampering.

use std::process::{Command, Output};

use quotastack_core::ids::AccountId;
use serde_json::{Value, json};

use crate::support::server::TestServer;
use crate::usage_summary::roll_up_all;

async fn verify(server: &TestServer) -> (Option<i32>, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotastack-server"));
    command.args(["ledger", "verify", "--json", "--jobs", "2"]).env("DATABASE_URL", &server.db.url);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A few end users in both environments, with something of everything.
async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for client in [&server.live, &server.sandbox] {
        let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "overage_policy": "overdraft",
            "price": {"type": "per_unit", "cost": 1}});
        client.post("/v1/features", &feature).await.is(201);
        for user in ["a", "b", "c", "d"] {
            let ask = |units: i64| json!({"end_user_id": user, "feature_key": "f", "units": units});
            client.post("/v1/usage", &ask(3)).await.is(200);
            client.post("/v1/credits/grants", &json!({"end_user_id": user, "amount": 20})).await.is(201);
            let used = client.post("/v1/usage", &ask(5)).await.is(200);
            client.post(&format!("/v1/usage/{}/void", used["id"].as_str().unwrap()), &json!({})).await.is(200);
            client.post("/v1/reservations", &ask(4)).await.is(201);
        }
    }
    server
}

#[tokio::test]
async fn a_ledger_that_the_rules_wrote_verifies_and_counts_what_there_is() {
    let server = filled().await;
    let (code, lines) = verify(&server).await;
    assert_eq!(code, Some(0), "{lines:?}");
    let entries: i64 = server.row_counts().await["entries"];
    assert_eq!(lines, [json!({"event": "verified", "accounts": 8, "entries": entries, "findings": 0})]);
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_with_the_account_and_the_entry() {
    let server = filled().await;
    let mut owner = server.owner().await;
    // One end user each, in the live environment; `seq` where the first bad entry is known.
    let tampering = [
        ("a", "update entries set amount = amount - 1 where seq = 3", Some(3)),
        ("b", "delete from entries where seq = 2", Some(3)),
        ("c", "update blocks set remaining = remaining - 1", None),
        ("d", "update reservations set parts = '[]'", None),
    ];
    for (user, statement, _) in tampering {
        let account = "account_id = (select account_id from accounts join environments using (environment_id)
            where end_user_id = $1 and environment = 'live')";
        let glue = if statement.contains(" where ") { "and" } else { "where" };
        let sql = format!("{statement} {glue} {account}");
        let changed = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(user).execute(&mut owner).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{user}");
    }
    let (code, mut lines) = verify(&server).await;
    assert_eq!(code, Some(1));
    let summary = lines.pop().unwrap();
    assert_eq!(summary["findings"], lines.len());
    for (user, _, seq) in tampering {
        let of_entries = |line: &&Value| line["end_user_id"] == user && line["expected"].is_null();
        let found = lines.iter().find(of_entries).unwrap();
        assert_eq!((&found["event"], &found["environment"]), (&json!("finding"), &json!("live")));
        assert!(seq.is_none_or(|seq| found["seq"] == seq), "{found}");
    }
}

/// What was done behind the ledger's back to an end user, and what a finding says of it.
struct Tampering {
    statement: &'static str,
    fault: &'static str,
    expected: &'static str,
    found: &'static str,
}

const fn tampering(
    statement: &'static str,
    fault: &'static str,
    expected: &'static str,
    found: &'static str,
) -> Tampering {
    Tampering { statement, fault, expected, found }
}

/// `$1` is the account.
const TAMPERINGS: [Tampering; 20] = [
    tampering(
        "update usage_events set units = units + 1000 where units = 5 and account_id = $1",
        ": units",
        "5",
        "1005",
    ),
    tampering(
        "update usage_events set charged = charged - 1 where units = 5 and account_id = $1",
        ": charged",
        "5",
        "4",
    ),
    tampering("update usage_events set owed = 2 where units = 3 and account_id = $1", ": owed", "3", "2"),
    tampering(
        "update usage_events set feature_key = 'g' where units = 5 and account_id = $1",
        ": feature_key",
        "f",
        "g",
    ),
    tampering(
        "update usage_events set effective_at = '2020-01-01Z' where units = 5 and account_id = $1",
        ": effective_at",
        "",
        "2020-01-01",
    ),
    tampering(
        "update usage_events set seq = seq + 1 where units = 5 and account_id = $1",
        ": entry",
        "there",
        "missing",
    ),
    tampering(
        "delete from usage_events where units = 5 and account_id = $1",
        ": record of this entry",
        "there",
        "missing",
    ),
    tampering("delete from usage_voids where account_id = $1", ": record of this entry", "there", "missing"),
    tampering("update usage_voids set returned = 7 where account_id = $1", ": returned", "5", "7"),
    tampering("update usage_voids set seq = 1 where account_id = $1", ": entry", "there", "missing"),
    tampering(
        "update usage_rollups set units = units + 5 where grain = 'hour' and property = '' and account_id = $1",
        "usage sum of f in the hour from",
        "2 events, 5 units, cost 5",
        "2 events, 10 units, cost 5",
    ),
    tampering(
        "delete from usage_rollups where grain = 'month' and property = 'model' and account_id = $1",
        "usage sum of f with model - in the month from",
        "2 events, 5 units, cost 5",
        "0 events, 0 units, cost 0",
    ),
    tampering(
        "insert into entries select lane_id, account_id, seq + 100, environment_id, kind, amount, balance_after,
           reserved_after, debt_after, allocations, granted, cause, cause_id, feature_key, units, effective_at,
           recorded_at, actor, hash, reservation_id, detail from entries where seq = 3 and account_id = $1",
        "entry beyond the last one of the account",
        "none after ",
        "entry 103",
    ),
    tampering("delete from accounts where account_id = $1", "account of these entries", "there", "missing"),
    tampering(
        "update topups set state = jsonb_set(state, '{amount}', '51') where account_id = $1",
        ": amount",
        "50",
        "51",
    ),
    tampering(
        "update topups set state = jsonb_set(state, '{refunded}', '9') where account_id = $1",
        ": refunded",
        "10",
        "9",
    ),
    tampering("delete from topups where account_id = $1", ": record of these entries", "there", "missing"),
    tampering(
        "update reservations set state = jsonb_set(state, '{units}', '9') where status = 'active' and account_id = $1",
        ": units",
        "4",
        "9",
    ),
    tampering(
        "update reservations set state = jsonb_set(state, '{committed_cost}', '1') where status <> 'active'
           and account_id = $1",
        ": committed_cost",
        "2",
        "1",
    ),
    tampering(
        "delete from reservations where status <> 'active' and account_id = $1",
        ": record of these entries",
        "there",
        "missing",
    ),
];

#[tokio::test]
async fn records_and_sums_that_are_not_what_the_entries_say_are_found_with_what_differs() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    // No bucket ends meanwhile.
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "overage_policy": "overdraft",
        "price": {"type": "per_unit", "cost": 1}, "summary_properties": ["model"]});
    client.post("/v1/features", &feature).await.is(201);
    let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
    for number in 0..TAMPERINGS.len() {
        let user = format!("u{number}");
        let ask = |units: i64| json!({"end_user_id": user, "feature_key": "f", "units": units});
        client.post("/v1/usage", &ask(3)).await.is(200);
        client.post("/v1/credits/grants", &json!({"end_user_id": user, "amount": 20})).await.is(201);
        let used = client.post("/v1/usage", &ask(5)).await.is(200);
        client.post(&format!("/v1/usage/{}/void", id(&used)), &json!({})).await.is(200);
        client.post("/v1/reservations", &ask(4)).await.is(201);
        let reserved = client.post("/v1/reservations", &ask(4)).await.is(201);
        let commit = format!("/v1/reservations/{}/commit", id(&reserved));
        client.post(&commit, &json!({"units": 2})).await.is(200);
        let topup = json!({"end_user_id": user, "amount": 50, "price_paid": 1, "currency": "EUR",
            "payment_reference": "pi"});
        let booked = client.post("/v1/topups", &topup).await.is(201);
        let refund = format!("/v1/topups/{}/refund", id(&booked["topup"]));
        client.post(&refund, &json!({"amount": 10})).await.is(200);
    }
    let (app, _) = server.app(client).await;
    roll_up_all(&server, &app).await;
    app.stop().await;
    let (code, lines) = verify(&server).await;
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");

    let mut owner = server.owner().await;
    let mut accounts = Vec::new();
    for (number, Tampering { statement, .. }) in TAMPERINGS.iter().enumerate() {
        let of_user = "select account_id from accounts where end_user_id = $1";
        let account: uuid::Uuid =
            sqlx::query_scalar(of_user).bind(format!("u{number}")).fetch_one(&mut owner).await.unwrap();
        let changed = sqlx::query(*statement).bind(account).execute(&mut owner).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
        accounts.push(AccountId::from_uuid(account).to_string());
    }
    let (code, mut lines) = verify(&server).await;
    assert_eq!(code, Some(1));
    assert_eq!(lines.pop().unwrap()["findings"], lines.len());
    for (number, Tampering { statement, fault, expected, found }) in TAMPERINGS.iter().enumerate() {
        let is_it = |line: &&Value| {
            let has = |field: &str, text: &str| line[field].as_str().is_some_and(|value| value.contains(text));
            line["account_id"] == accounts[number]
                && has("fault", fault)
                && has("expected", expected)
                && has("found", found)
        };
        let line = lines.iter().find(is_it);
        let of_user: Vec<_> = lines.iter().filter(|line| line["account_id"] == accounts[number]).collect();
        let line = line.unwrap_or_else(|| panic!("{statement}: {of_user:#?}"));
        let is_orphan = statement.contains("from accounts");
        assert_eq!(line["end_user_id"], if is_orphan { Value::Null } else { json!(format!("u{number}")) });
    }
    // The sums of the whole lane do not have what an account's event lost.
    assert!(lines.iter().any(|line| line["account_id"].is_null() && line["end_user_id"].is_null()), "{lines:?}");
}

#[tokio::test]
async fn a_checkpoint_that_says_something_else_than_the_entries_is_found() {
    let server = TestServer::start().await;
    let client = &server.live;
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1}});
    client.post("/v1/features", &feature).await.is(201);
    for amount in [7, 3_000] {
        client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": amount})).await.is(201);
    }
    for _ in 0..2 {
        let event = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
        client.post("/v1/usage/batch", &json!({"events": vec![event; 1_000]})).await.is(200);
    }
    let looked_back = client.get("/v1/end_users/u/credits?include=blocks&as_of_seq=2001").await.is(200);
    assert_eq!(looked_back["balance"], 3_007 - 1_999);
    let (code, lines) = verify(&server).await;
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");

    let mut owner = server.owner().await;
    for (tampering, undo, seq) in [
        (
            "update checkpoints set state = set_byte(state, 60, get_byte(state, 60) # 1) where seq = 2000",
            "update checkpoints set state = set_byte(state, 60, get_byte(state, 60) # 1) where seq = 2000",
            2_000,
        ),
        (
            "update checkpoint_blocks set block = jsonb_set(block, '{expired}', '5')",
            "update checkpoint_blocks set block = jsonb_set(block, '{expired}', '0')",
            1_000,
        ),
        (
            "update checkpoints set seq = 3000 where seq = 1000",
            "update checkpoints set seq = 1000 where seq = 3000",
            1_000,
        ),
    ] {
        let changed = sqlx::query(tampering).execute(&mut owner).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{tampering}");
        let (code, lines) = verify(&server).await;
        assert_eq!(
            (code, &lines[0]["seq"], &lines[0]["end_user_id"]),
            (Some(1), &json!(seq), &json!("u")),
            "{lines:?}"
        );
        sqlx::query(undo).execute(&mut owner).await.unwrap();
    }
    // Lost, it is only slower.
    sqlx::raw_sql("truncate checkpoints, checkpoint_blocks").execute(&mut owner).await.unwrap();
    let again = client.get("/v1/end_users/u/credits?include=blocks&as_of_seq=2001").await.is(200);
    assert_eq!(again, looked_back);
    assert_eq!(verify(&server).await.0, Some(0));
}

#[tokio::test]
async fn usage_in_the_last_month_that_there_is_verifies() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "overage_policy": "overdraft",
        "price": {"type": "per_unit", "cost": 1}});
    client.post("/v1/features", &feature).await.is(201);
    for now in ["9999-12-01T00:00:00Z", "9999-12-24T23:59:59.999999Z"] {
        client.post("/v1/sandbox/clock", &json!({ "now": now })).await.is(200);
        client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(200);
    }
    // The last timestamp of all.
    let last = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "effective_at": "9999-12-25T00:00:00Z"});
    client.post("/v1/usage", &last).await.is(200);
    let (app, _) = server.app(client).await;
    roll_up_all(&server, &app).await;
    app.stop().await;
    let (code, lines) = verify(&server).await;
    assert_eq!((code, lines.len()), (Some(0), 1), "{lines:?}");

    let mut owner = server.owner().await;
    let sum = "update usage_rollups set units = units + 5 where grain = 'month' and property = ''";
    sqlx::query(sum).execute(&mut owner).await.unwrap();
    let (code, lines) = verify(&server).await;
    assert_eq!((code, lines.len()), (Some(1), 3), "of the account and of the lane: {lines:?}");
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_told_with_what_helps() {
    let server = TestServer::start().await;
    let said = async |url: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quotastack-server"));
        command.args(["ledger", "verify"]).env("DATABASE_URL", url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let nowhere = "postgres://nobody@127.0.0.1:1/nowhere".to_owned();
    assert!(said(nowhere).await.contains("is --database-url right?"));
    let mut owner = server.owner().await;
    sqlx::query("drop table environments cascade").execute(&mut owner).await.unwrap();
    assert!(said(server.db.url.clone()).await.contains("run `quotastack-server migrate` first"));
}
