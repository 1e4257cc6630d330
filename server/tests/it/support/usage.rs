//! Random histories of usage over HTTP, and what the ledger says that they came to.

use std::collections::BTreeMap;

use quotastack_core::time::Timestamp;
use quotastack_server::store::types::{EnvironmentId, Ts};
use serde_json::{Value, json};
use sqlx::Row;

use super::client::Client;
use super::server::TestServer;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The same throws for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Metered features: `f` summed by model and region, `g` by nothing, `h` by model.
pub(crate) async fn create_features(client: &Client) {
    for (key, cost, policy, properties) in [
        ("f", 3, "overdraft", json!(["model", "region"])),
        ("g", 0, "cap", json!([])),
        ("h", 2, "cap", json!(["model"])),
    ] {
        let feature = json!({"feature_key": key, "name": key, "kind": "metered", "overage_policy": policy,
            "price": {"type": "per_unit", "cost": cost}, "summary_properties": properties});
        client.post("/v1/features", &feature).await.is(201);
    }
}

fn any_event(dice: &mut Dice) -> Value {
    let now = quotastack_server::app::clock::now();
    let back = |days: i64, micros: i64| now.saturating_add_micros(-days * MICROS_PER_DAY - micros).to_string();
    let effective_at = match dice.below(5) {
        0 => Value::Null,
        1 => json!(format!("{}-01T00:00:00Z", &back(0, 0)[..7])),
        2 => json!(format!("{}:00:00Z", &back(i64::try_from(dice.below(33)).unwrap(), 0)[..13])),
        _ => json!(back(i64::try_from(dice.below(33)).unwrap(), i64::try_from(dice.below(1 << 30)).unwrap() * 60)),
    };
    let mut properties = BTreeMap::new();
    if dice.below(4) > 0 {
        properties.insert("model", ["large", "small", "-", "*", "=", ""][dice.below(6)]);
    }
    if dice.below(2) > 0 {
        properties.insert("region", ["eu", "us", "ü"][dice.below(3)]);
    }
    json!({"end_user_id": format!("u{}", dice.below(5)), "feature_key": (["f", "g", "h"][dice.below(3)]),
        "units": dice.below(1_000), "effective_at": effective_at, "properties": properties})
}

/// Does something that records or undoes usage.
pub(crate) async fn history_step(client: &Client, dice: &mut Dice) {
    let event = any_event(dice);
    match dice.below(8) {
        0 => {
            let events: Vec<Value> = (0..=dice.below(8)).map(|_| any_event(dice)).collect();
            client.post("/v1/usage/batch", &json!({"events": events})).await.is(200);
        }
        1 => {
            let amount = 1 + dice.below(2_000);
            let grant = json!({"end_user_id": event["end_user_id"], "amount": amount});
            client.post("/v1/credits/grants", &grant).await.is(201);
        }
        2 => {
            let mut order = event;
            order.as_object_mut().unwrap().remove("effective_at");
            let reservation = client.post("/v1/reservations", &order).await.is(201);
            let commit = format!("/v1/reservations/{}/commit", reservation["id"].as_str().unwrap());
            client.post(&commit, &json!({"units": dice.below(500), "final": false})).await.is(200);
            client.post(&commit, &json!({"units": dice.below(1_500)})).await.is(200);
        }
        3 | 4 => {
            let page = client.get("/v1/usage?limit=100").await.is(200);
            let events = page["data"].as_array().unwrap();
            if !events.is_empty() {
                let id = events[dice.below(events.len())]["id"].as_str().unwrap().to_owned();
                client.post(&format!("/v1/usage/{id}/void"), &json!({})).await.is(200);
            }
        }
        _ => {
            client.post("/v1/usage", &event).await.is(200);
        }
    }
}

/// A usage event, as it stands in the ledger.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) end_user_id: String,
    pub(crate) feature_key: String,
    pub(crate) units: i64,
    /// The sum of its entries.
    pub(crate) cost: i64,
    pub(crate) effective_at: Timestamp,
    pub(crate) properties: BTreeMap<String, String>,
    pub(crate) voided: bool,
}

/// All usage of an environment, from its entries.
pub(crate) async fn known_usage(server: &TestServer, EnvironmentId(id): EnvironmentId) -> Vec<Known> {
    let sql = "select u.usage_id, a.end_user_id, e.feature_key, e.units, e.effective_at, u.properties,
        (select -sum(amount)::bigint from entries o where o.account_id = e.account_id and o.cause_id = e.cause_id
           and o.kind in ('usage', 'commit', 'debt')) as cost,
        exists (select from entries v where v.account_id = e.account_id and v.cause = 'void' and v.cause_id = e.cause_id
           and v.kind = 'void') as voided
      from entries e join accounts a using (account_id) join usage_events u on u.usage_id = e.cause_id
      where e.kind in ('usage', 'commit') and e.environment_id = $1";
    let rows = sqlx::query(sql).bind(id).fetch_all(&mut server.owner().await).await.unwrap();
    let known = rows.iter().map(|row| {
        let properties: Option<Value> = row.get("properties");
        Known {
            id: quotastack_core::ids::UsageId::from_uuid(row.get("usage_id")).to_string(),
            end_user_id: row.get("end_user_id"),
            feature_key: row.get("feature_key"),
            units: row.get("units"),
            cost: row.get("cost"),
            effective_at: row.get::<Ts, _>("effective_at").0,
            properties: properties.map_or_else(BTreeMap::new, |value| serde_json::from_value(value).unwrap()),
            voided: row.get("voided"),
        }
    });
    known.collect()
}
