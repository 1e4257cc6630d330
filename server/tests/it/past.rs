//! Looking back: what an account answered at an instant is answered for ever, by every server, whatever came after.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

/// When the history starts: a future in which nothing has happened yet.
const START_SECONDS: i64 = 4_102_444_800;
const STEPS: usize = 48;
const EVENTS_PER_BATCH: u64 = 60;

/// SplitMix64: the history is another one for another seed, and the same for the same.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

struct History {
    client: Client,
    random: Random,
    seconds: i64,
    /// What the account answered, and when.
    answers: Vec<(String, Value)>,
    usage: Vec<String>,
    holds: Vec<String>,
    topups: u64,
}

impl History {
    async fn start(server: &TestServer) -> Self {
        let client = server.sandbox.clone();
        for (key, policy) in [("a", "overdraft"), ("b", "cap")] {
            let feature = json!({"feature_key": key, "name": key, "kind": "metered", "overage_policy": policy,
                "price": {"type": "per_unit", "cost": 1}});
            client.post("/v1/features", &feature).await.is(201);
        }
        let (answers, usage, holds) = (Vec::new(), Vec::new(), Vec::new());
        Self { client, random: Random(9), seconds: START_SECONDS, answers, usage, holds, topups: 0 }
    }

    async fn wait(&mut self, seconds: i64) {
        self.seconds += seconds;
        self.client.post("/v1/sandbox/clock", &json!({"now": instant(self.seconds)})).await.is(200);
    }

    /// What the account answers now. The clock stands: it must be moved on before anything is done.
    async fn record(&mut self) {
        let answer = self.client.get("/v1/end_users/u/credits?include=blocks").await.is(200);
        self.answers.push((instant(self.seconds), answer));
    }

    /// One change, or a batch of usage.
    async fn step(&mut self) {
        let picked = self.random.below(10);
        let feature = ["a", "b"][self.random.below(2) as usize];
        let amount = 1 + self.random.below(150);
        let ask = json!({"end_user_id": "u", "feature_key": feature, "units": amount});
        match picked {
            0 | 1 => {
                let scope = if self.random.below(2) == 0 { json!([]) } else { json!([feature]) };
                let start = self.seconds + self.random.below(20_000) as i64;
                let end = start + 1 + self.random.below(100_000) as i64;
                let grant = json!({"end_user_id": "u", "amount": amount, "effective_at": instant(start),
                    "expires_at": instant(end), "feature_keys": scope, "priority": self.random.below(3),
                    "metadata": {"step": self.answers.len().to_string()}});
                self.client.post("/v1/credits/grants", &grant).await.is(201);
            }
            2 => {
                let held = self.client.post("/v1/reservations", &ask).await.is(201);
                self.holds.push(held["id"].as_str().unwrap().to_owned());
            }
            3 if !self.holds.is_empty() => {
                let hold = self.holds.swap_remove(self.random.below(self.holds.len() as u64) as usize);
                // It may have expired.
                self.client.post(&format!("/v1/reservations/{hold}/commit"), &json!({"units": amount})).await;
            }
            4 if !self.usage.is_empty() => {
                let event = &self.usage[self.random.below(self.usage.len() as u64) as usize];
                self.client.post(&format!("/v1/usage/{event}/void"), &json!({})).await.is(200);
            }
            5 => {
                self.topups += 1;
                let topup = json!({"end_user_id": "u", "amount": amount, "price_paid": 1, "currency": "EUR",
                    "payment_reference": format!("payment {}", self.topups)});
                let topup = self.client.post("/v1/topups", &topup).await.is(201);
                if self.random.below(2) == 0 {
                    let id = topup["topup"]["id"].as_str().unwrap();
                    let refund = json!({"claw_back_spent": true});
                    self.client.post(&format!("/v1/topups/{id}/refund"), &refund).await.is(200);
                }
            }
            6 => {
                let back = self.random.below(100_000).min((self.seconds - START_SECONDS) as u64);
                let mut late = ask;
                late["effective_at"] = json!(instant(self.seconds - back as i64));
                let used = self.client.post("/v1/usage", &late).await.is(200);
                self.usage.push(used["id"].as_str().unwrap().to_owned());
            }
            _ => {
                let event = json!({"end_user_id": "u", "feature_key": "a", "units": 1});
                let events = vec![event; EVENTS_PER_BATCH as usize];
                let batch = self.client.post("/v1/usage/batch", &json!({"events": events})).await.is(200);
                let id = |result: &Value| result["receipt"]["id"].as_str().map(str::to_owned);
                self.usage.extend(batch["results"].as_array().unwrap().iter().take(2).filter_map(id));
            }
        }
    }
}

fn instant(seconds: i64) -> String {
    quotastack_core::time::Timestamp::from_micros(seconds * 1_000_000).unwrap().to_string()
}

async fn asks_again(client: &Client, answers: &[(String, Value)]) {
    for (at, answer) in answers {
        let again = client.get(&format!("/v1/end_users/u/credits?include=blocks&as_of={at}")).await.is(200);
        let mut expected = answer.clone();
        expected["version"] = Value::Null;
        assert_eq!(again, expected, "as of {at}");
    }
}

#[tokio::test]
async fn what_an_account_answered_is_answered_for_ever() {
    let server = TestServer::start().await;
    let mut history = History::start(&server).await;
    history.wait(0).await;
    let mut asked = 0;
    for step in 0..STEPS {
        // Time alone, then a change, each at an instant of its own.
        let pause = history.random.below(20_000) as i64;
        history.wait(1 + pause).await;
        history.record().await;
        history.wait(1).await;
        history.step().await;
        history.record().await;
        if step == STEPS / 2 {
            // Half of it is asked for before the rest is written, and leaves its checkpoints.
            history.wait(1).await;
            asks_again(&history.client, &history.answers).await;
            asked = history.answers.len();
        }
    }
    history.wait(1).await;
    for _ in 0..30 {
        history
            .client
            .post(
                "/v1/usage/batch",
                &json!({"events": vec![json!({"end_user_id": "u", "feature_key": "a",
            "units": 1}); EVENTS_PER_BATCH as usize]}),
            )
            .await
            .is(200);
    }
    history.wait(1).await;
    history.record().await;
    history.wait(1_000_000).await;
    asks_again(&history.client, &history.answers).await;
    let (second, client) = server.second(&history.client).await;
    asks_again(&client, &history.answers[..asked]).await;
    second.stop().await;

    let entries = server.verified_entries(&history.client, "u").await;
    assert!(entries.len() > 2_100, "{} entries go over more than two checkpoints", entries.len());
    assert!(server.row_counts().await["checkpoints"] >= 2);
    let edges = [1, 2, 999, 1_000, 1_001, 1_999, 2_000, 2_001, entries.len() as u64];
    let is_asked = |seq: u64| seq.is_multiple_of(97) || edges.contains(&seq);
    for entry in entries.iter().filter(|entry| is_asked(entry.seq)) {
        let path = format!("/v1/end_users/u/credits?as_of_seq={}", entry.seq);
        let then = history.client.get(&path).await.is(200);
        let figures = ["balance", "reserved", "debt", "seq"].map(|name| then[name].as_i64().unwrap());
        let [balance, reserved, debt] =
            [entry.balance_after, entry.reserved_after, entry.debt_after].map(|credits| credits.get());
        assert_eq!(figures, [balance, reserved, debt, entry.seq as i64]);
    }
    // Nobody else's past is anybody's.
    let theirs = server.live.get(&format!("/v1/end_users/u/credits?as_of={}", "2026-01-01T00:00:00Z")).await.is(200);
    assert_eq!((&theirs["balance"], &theirs["seq"]), (&json!(0), &json!(0)));
    server.live.get("/v1/end_users/u/credits?as_of_seq=1").await.refused(404, "not_found");
}

#[tokio::test]
async fn only_what_is_over_is_answered_and_then_nothing_is_written_into_it() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let now = instant(START_SECONDS);
    client.post("/v1/sandbox/clock", &json!({"now": now})).await.is(200);
    let at = |time: &str| format!("/v1/end_users/u/credits?include=blocks&as_of={time}");
    for time in [now.as_str(), "2999-01-01T00:00:00Z"] {
        let problem = client.get(&at(time)).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], "query:as_of");
        assert!(problem["detail"].as_str().unwrap().contains(&now), "{problem}");
    }
    // The last instant before the present: nobody has written since, and nobody can any more.
    let past = "2099-12-31T23:59:59.999999Z";
    let nothing = client.get(&at(past)).await.is(200);
    assert_eq!((&nothing["balance"], &nothing["blocks"]), (&json!(0), &json!([])));
    let mut owner = server.owner().await;
    let closed = "select count(*) from lanes where last_now > $1::text::timestamptz";
    let closed: i64 = sqlx::query_scalar(closed).bind(past).fetch_one(&mut owner).await.unwrap();
    assert_eq!(closed, 1, "the end user's lane has left it behind");
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 5})).await.is(201);
    assert_eq!(client.get(&at(past)).await.is(200), nothing);

    client.get("/v1/end_users/u/credits?as_of=yesterday").await.refused(422, "validation_failed");
    client.get("/v1/end_users/u/credits?as_of_seq=0").await.refused(422, "validation_failed");
    let both = format!("{}&as_of_seq=1", at(past));
    client.get(&both).await.refused(422, "validation_failed");
    let beyond = client.get("/v1/end_users/u/credits?as_of_seq=2").await.refused(404, "not_found");
    assert!(beyond["detail"].as_str().unwrap().contains("the last one is 1"), "{beyond}");
    client.get("/v1/end_users/nobody/credits?as_of_seq=1").await.refused(404, "not_found");
}

#[tokio::test]
async fn an_entry_in_the_middle_of_a_change_is_shown_as_it_was_written() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": instant(START_SECONDS)})).await.is(200);
    for (start, end) in [(0, 10), (20, 30)] {
        let grant = json!({"end_user_id": "u", "amount": 5, "effective_at": instant(START_SECONDS + start),
            "expires_at": instant(START_SECONDS + end)});
        client.post("/v1/credits/grants", &grant).await.is(201);
    }
    client.post("/v1/sandbox/clock", &json!({"now": instant(START_SECONDS + 25)})).await.is(200);
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 1})).await.is(201);
    // 1 grant, 2 grant of what is to come, 3 the first one ends, 4 the second one begins, 5 grant.
    let mut seen = Vec::new();
    for seq in 1..=5 {
        let path = format!("/v1/end_users/u/credits?include=blocks&as_of_seq={seq}");
        let then = client.get(&path).await.is(200);
        let blocks =
            then["blocks"].as_array().unwrap().iter().map(|block| block["status"].as_str().unwrap().to_owned());
        seen.push((then["balance"].as_i64().unwrap(), blocks.collect::<Vec<_>>().join(" ")));
    }
    let expected = [
        (5, "active"),
        (5, "active scheduled"),
        (0, "expired scheduled"),
        (5, "expired active"),
        (6, "expired active active"),
    ];
    assert_eq!(seen, expected.map(|(balance, blocks)| (balance, blocks.to_owned())));
    // As of an instant in between, whenever it was written down.
    let between = client.get(&format!("/v1/end_users/u/credits?as_of={}", instant(START_SECONDS + 15))).await.is(200);
    assert_eq!((&between["balance"], &between["seq"]), (&json!(0), &json!(2)));
}
