//! `ledger verify`: it finds nothing in a ledger that was written by the rules, and each kind of tampering.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::server::TestServer;

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
    assert_eq!(summary["findings"], 4);
    for (user, _, seq) in tampering {
        let found = lines.iter().find(|line| line["end_user_id"] == user).unwrap();
        assert_eq!((&found["event"], &found["environment"]), (&json!("finding"), &json!("live")));
        assert!(seq.is_none_or(|seq| found["seq"] == seq), "{found}");
    }
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
