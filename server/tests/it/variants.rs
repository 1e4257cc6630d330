//! Versions of variants over the API: edits, archiving, the fallback, add-ons, contracts, previews, migrations; also
//! replace_feature and rename_plan.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::server::TestServer;

/// A sandbox with a metered feature `f`, a config feature `seats`, and a base and an add-on plan.
struct Shop {
    server: TestServer,
    base: String,
    addon: String,
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// 30 days and `amount` a period, with what `more` says.
fn variant(amount: i64, more: Value) -> Value {
    let grant = json!({"amount": amount, "interval": "billing_period"});
    let mut body = json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "grants": [grant]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

impl Shop {
    async fn open() -> Self {
        let server = TestServer::start().await;
        let client = &server.sandbox;
        client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
        let price = json!({"type": "per_unit", "cost": 1, "per_units": 1});
        let metered = json!({"feature_key": "f", "name": "f", "kind": "metered", "price": price});
        client.post("/v1/features", &metered).await.is(201);
        client.post("/v1/features", &json!({"feature_key": "seats", "name": "seats", "kind": "config"})).await.is(201);
        let base = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
        let addon = client.post("/v1/plans", &json!({"name": "More", "kind": "addon"})).await.is(201);
        assert_eq!((&base["kind"], &addon["kind"]), (&json!("base"), &json!("addon")));
        Self { base: id(&base), addon: id(&addon), server }
    }

    fn client(&self) -> &Client {
        &self.server.sandbox
    }

    async fn try_variant(&self, plan: &str, body: &Value) -> Answer {
        self.client().post(&format!("/v1/plans/{plan}/variants"), body).await
    }

    async fn variant(&self, plan: &str, body: &Value) -> String {
        id(&self.try_variant(plan, body).await.is(201))
    }

    async fn subscribe(&self, user: &str, variant: &str) -> Value {
        let order = json!({"end_user_id": user, "plan_variant_id": variant});
        self.client().post("/v1/subscriptions", &order).await.is(201)
    }

    async fn ask(&self, subscription: &Value, what: &str, body: Value) -> Value {
        self.client().post(&format!("/v1/subscriptions/{}/{what}", id(subscription)), &body).await.is(200)
    }

    async fn subscription(&self, subscription: &Value) -> Value {
        self.client().get(&format!("/v1/subscriptions/{}", id(subscription))).await.is(200)
    }

    async fn clock(&self, now: &str) {
        self.client().post("/v1/sandbox/clock", &json!({ "now": now })).await.is(200);
    }

    async fn balance(&self, user: &str) -> i64 {
        let credits = self.client().get(&format!("/v1/end_users/{user}/credits")).await.is(200);
        credits["balance"].as_i64().unwrap()
    }

    async fn seats(&self, user: &str) -> Value {
        let path = format!("/v1/entitlements/check?end_user_id={user}&feature_key=seats");
        self.client().get(&path).await.is(200)["value"].clone()
    }
}

#[tokio::test]
async fn an_edit_makes_a_version_and_running_subscriptions_keep_theirs() {
    let shop = Shop::open().await;
    let own = shop.variant(&shop.base, &variant(100, json!({}))).await;
    let path = format!("/v1/variants/{own}");
    let early = shop.subscribe("early", &own).await;
    let edited = variant(250, json!({"name": "w", "price": {"amount": 900, "currency": "EUR"}}));
    let second = shop.client().put(&path, &edited).await.is(200);
    assert_eq!((&second["version"], &second["name"], &second["id"]), (&json!(2), &json!("w"), &json!(own)));
    assert_eq!(second["price"], json!({"amount": 900, "currency": "EUR"}));
    assert_eq!(shop.client().put(&path, &edited).await.is(200)["version"], 2, "nothing is different");
    assert_eq!(shop.client().get(&path).await.is(200)["version"], 2);
    let first = shop.client().get(&format!("{path}?version=1")).await.is(200);
    assert_eq!((&first["version"], &first["grants"][0]["amount"]), (&json!(1), &json!(100)));
    shop.client().get(&format!("{path}?version=3")).await.refused(404, "not_found");

    let late = shop.subscribe("late", &own).await;
    assert_eq!((&early["variant_version"], &late["variant_version"]), (&json!(1), &json!(2)));
    assert_eq!((shop.balance("early").await, shop.balance("late").await), (100, 250));
    // A change to one's own variant takes its newest version.
    let changed = shop.ask(&early, "change", json!({"plan_variant_id": own})).await;
    assert_eq!((&changed["variant_version"], shop.balance("early").await), (&json!(2), 250));
}

#[tokio::test]
async fn an_archived_variant_keeps_its_subscribers_and_takes_no_others() {
    let shop = Shop::open().await;
    let own = shop.variant(&shop.base, &variant(100, json!({"billing_mode": "postpaid"}))).await;
    let other = shop.variant(&shop.base, &variant(7, json!({}))).await;
    let (path, stays) = (format!("/v1/variants/{own}"), shop.subscribe("u", &own).await);
    let moves = shop.subscribe("v", &other).await;
    assert_eq!(shop.client().delete(&path).await.is(200)["archived"], true);
    assert_eq!(shop.client().delete(&path).await.is(200)["version"], 1, "archiving twice is archiving once");
    assert_eq!(shop.client().get(&path).await.is(200)["archived"], true);
    let order = json!({"end_user_id": "w", "plan_variant_id": own});
    shop.client().post("/v1/subscriptions", &order).await.refused(422, "validation_failed");
    let change = format!("/v1/subscriptions/{}/change", id(&moves));
    shop.client().post(&change, &json!({"plan_variant_id": own})).await.refused(422, "validation_failed");
    shop.client().put(&path, &variant(5, json!({}))).await.refused(409, "invalid_transition");
    shop.client().post(&format!("{path}/migrate"), &json!({})).await.refused(409, "invalid_transition");
    shop.clock("2100-02-05T00:00:00Z").await;
    assert_eq!((shop.subscription(&stays).await["status"].as_str(), shop.balance("u").await), (Some("active"), 100));
    let listed = shop.client().get(&format!("/v1/plans/{}/variants", shop.base)).await.is(200);
    let archived: Vec<_> = listed["data"].as_array().unwrap().iter().map(|it| it["archived"].clone()).collect();
    assert_eq!(archived, [json!(true), json!(false)]);
}

#[tokio::test]
async fn one_variant_is_the_fallback_until_it_is_archived_or_edited() {
    let shop = Shop::open().await;
    let free = shop.variant(&shop.base, &variant(50, json!({"fallback": true}))).await;
    let taken = shop.try_variant(&shop.base, &variant(60, json!({"fallback": true}))).await;
    taken.refused(409, "already_exists");
    let paid = shop.variant(&shop.base, &variant(1_000, json!({}))).await;
    let path = format!("/v1/variants/{paid}");
    shop.client().put(&path, &variant(1_000, json!({"fallback": true}))).await.refused(409, "already_exists");
    // An edit of the fallback itself is none of a second one.
    let edited = shop.client().put(&format!("/v1/variants/{free}"), &variant(55, json!({"fallback": true}))).await;
    assert_eq!(edited.is(200)["version"], 2);

    let own = shop.subscribe("u", &paid).await;
    assert_eq!(shop.ask(&own, "cancel", json!({"at": "now", "credits": "void"})).await["status"], "canceled");
    let all = shop.client().get("/v1/subscriptions?end_user_id=u").await.is(200);
    let live = all["data"].as_array().unwrap().iter().find(|it| it["status"] == "active").unwrap();
    assert_eq!((&live["plan_variant_id"], shop.balance("u").await), (&json!(free), 55));
    // It goes on by itself, and ends with the next paid plan.
    shop.clock("2100-02-05T00:00:00Z").await;
    assert_eq!(shop.balance("u").await, 55);
    shop.subscribe("u", &paid).await;
    assert_eq!(shop.subscription(live).await["status"], "canceled");

    shop.client().delete(&format!("/v1/variants/{free}")).await.is(200);
    assert_eq!(shop.client().put(&path, &variant(1_000, json!({"fallback": true}))).await.is(200)["fallback"], true);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused_where_it_is_said() {
    let shop = Shop::open().await;
    let seats = json!([{"feature_key": "seats", "value": 5, "merge": "sum"}]);
    let metered = json!([{"feature_key": "f", "merge": "sum"}]);
    let cases = [
        (&shop.base, json!({"price": {"amount": -1, "currency": "EUR"}}), "/price/amount", 422),
        (&shop.base, json!({"price": {"amount": 1, "currency": "eur"}}), "/price/currency", 422),
        (&shop.base, json!({"price": {"amount": 1}}), "", 422),
        (&shop.base, json!({"contract": {"periods": 0}}), "/contract/periods", 422),
        (&shop.base, json!({"contract": {"periods": 1_001}}), "/contract/periods", 422),
        (&shop.base, json!({"contract": {"periods": 1, "notice_days": 366}}), "/contract/notice_days", 422),
        (&shop.base, json!({"contract": {"periods": 1, "months": 1}}), "", 422),
        (&shop.base, json!({"carry_debt": true}), "/carry_debt", 422),
        (&shop.base, json!({"summary_delay_minutes": 4_321}), "/summary_delay_minutes", 422),
        (&shop.addon, json!({"fallback": true}), "/fallback", 422),
        (&shop.base, json!({"fallback": true, "trial_days": 1}), "/trial_days", 422),
        (&shop.base, json!({"fallback": true, "contract": {"periods": 1}}), "/contract", 422),
        (&shop.base, json!({"trial_end": "convert"}), "/trial_end", 422),
        (&shop.base, json!({"entitlements": seats}), "/entitlements/0/merge", 422),
        (&shop.addon, json!({"entitlements": metered}), "/entitlements/0/merge", 422),
    ];
    for (plan, more, pointer, status) in cases {
        let refused = shop.try_variant(plan, &variant(1, more.clone())).await;
        assert_eq!(refused.status, status, "{more}: {}", refused.text);
        if !pointer.is_empty() {
            assert_eq!(refused.json["errors"][0]["pointer"], pointer, "{more}");
        }
    }
    let variants = shop.client().get(&format!("/v1/plans/{}/variants", shop.base)).await.is(200);
    assert_eq!(variants["data"], json!([]));
}

#[tokio::test]
async fn addons_join_their_base_and_end_with_it() {
    let shop = Shop::open().await;
    let give = |value: i64, merge: Value| json!([{"feature_key": "seats", "value": value, "merge": merge}]);
    let base = json!([{"feature_key": "seats", "value": 5}, {"feature_key": "f"}]);
    let base = shop.variant(&shop.base, &variant(100, json!({"entitlements": base}))).await;
    let sum = shop.variant(&shop.addon, &variant(20, json!({"entitlements": give(3, json!("sum"))}))).await;
    let max = shop.variant(&shop.addon, &variant(20, json!({"entitlements": give(7, json!("max"))}))).await;
    let alone = json!({"end_user_id": "u", "plan_variant_id": sum});
    shop.client().post("/v1/subscriptions", &alone).await.refused(409, "invalid_transition");
    let own = shop.subscribe("u", &base).await;
    assert_eq!((shop.seats("u").await, shop.balance("u").await), (json!(5), 100));
    let more = shop.subscribe("u", &sum).await;
    assert_eq!((shop.seats("u").await, shop.balance("u").await), (json!(8), 120));
    shop.clock("2100-01-01T00:00:01Z").await;
    shop.subscribe("u", &max).await;
    shop.clock("2100-01-01T00:00:02Z").await;
    shop.subscribe("u", &sum).await;
    assert_eq!((shop.seats("u").await, shop.balance("u").await), (json!(11), 160));
    assert_eq!(shop.ask(&more, "cancel", json!({"at": "now"})).await["status"], "canceled");
    assert_eq!((shop.seats("u").await, shop.balance("u").await), (json!(8), 160));
    shop.ask(&own, "cancel", json!({"at": "now"})).await;
    let all = shop.client().get("/v1/subscriptions?end_user_id=u").await.is(200);
    assert!(all["data"].as_array().unwrap().iter().all(|it| it["status"] == "canceled"), "{all}");
    assert_eq!(shop.seats("u").await, json!(null));
}

#[tokio::test]
async fn a_contract_ends_with_its_term_and_a_price_of_nothing_needs_no_renewal() {
    let shop = Shop::open().await;
    let free = json!({"amount": 0, "currency": "EUR"});
    let term = variant(100, json!({"price": free, "contract": {"periods": 2, "auto_renew": false}}));
    let renews = variant(100, json!({"price": free, "contract": {"periods": 2, "auto_renew": true}}));
    let ends = shop.subscribe("ends", &shop.variant(&shop.base, &term).await).await;
    let goes_on = shop.subscribe("goes_on", &shop.variant(&shop.base, &renews).await).await;
    shop.clock("2100-02-01T00:00:00Z").await;
    assert_eq!(shop.subscription(&ends).await["status"], "active");
    assert_eq!(shop.balance("ends").await, 100);
    shop.clock("2100-03-15T00:00:00Z").await;
    assert_eq!(shop.subscription(&ends).await["status"], "expired");
    assert_eq!(shop.subscription(&goes_on).await["status"], "active");
    assert_eq!((shop.balance("ends").await, shop.balance("goes_on").await), (0, 100));
}

#[tokio::test]
async fn a_previewed_change_says_what_it_would_do_and_does_nothing() {
    let shop = Shop::open().await;
    let (small, large) = (variant(1_000, json!({})), variant(2_000, json!({})));
    let (small, large) = (shop.variant(&shop.base, &small).await, shop.variant(&shop.base, &large).await);
    let own = shop.subscribe("u", &small).await;
    let usage = json!({"end_user_id": "u", "feature_key": "f", "units": 600, "idempotency_key": "k"});
    shop.client().post("/v1/usage", &usage).await.is(200);
    shop.clock("2100-01-16T00:00:00Z").await;
    let change = json!({"plan_variant_id": large, "preview": true});
    let preview = shop.ask(&own, "change", change.clone()).await;
    assert_eq!((&preview["plan_variant_id"], &preview["preview"]["before"]["balance"]), (&json!(large), &json!(400)));
    assert_eq!(preview["preview"]["after"]["balance"], 900);
    let moved: Vec<_> = preview["preview"]["entries"].as_array().unwrap().iter().map(|it| &it["amount"]).collect();
    assert_eq!(moved, [&json!(-400), &json!(900)], "400 are taken back, 100 are owed, 900 are granted");
    assert_eq!(shop.ask(&own, "change", change).await, preview, "nothing has changed");
    assert_eq!((shop.balance("u").await, shop.subscription(&own).await), (400, own.clone()));
    let path = format!("/v1/subscriptions/{}/change", id(&own));
    let same = json!({"plan_variant_id": small, "preview": true});
    shop.client().post(&path, &same).await.refused(409, "invalid_transition");
    let done = shop.ask(&own, "change", json!({"plan_variant_id": large})).await;
    assert_eq!((done.get("preview"), shop.balance("u").await), (None, 900));
}

#[tokio::test]
async fn subscribers_are_migrated_page_by_page_each_once() {
    let shop = Shop::open().await;
    let own = shop.variant(&shop.base, &variant(100, json!({}))).await;
    let mut subscriptions = Vec::new();
    for user in 0..7 {
        subscriptions.push(shop.subscribe(&format!("u{user}"), &own).await);
    }
    shop.ask(&subscriptions[3], "pause", json!({})).await;
    shop.ask(&subscriptions[4], "cancel", json!({"at": "now"})).await;
    let path = format!("/v1/variants/{own}");
    shop.client().put(&path, &variant(300, json!({}))).await.is(200);
    let migrate = format!("{path}/migrate");
    let pages = async |body: Value, mut left: usize| {
        let (mut rows, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let mut body = body.clone();
            body["cursor"].clone_from(&cursor);
            let page = shop.client().post(&migrate, &body).await.is(200);
            assert_eq!(page["version"], 2);
            let data = page["data"].as_array().unwrap();
            left -= data.len();
            rows.extend(data.clone());
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                assert_eq!(page["remaining"], 0);
                break;
            }
            assert_eq!(page["remaining"], left, "what is behind the page");
        }
        rows
    };
    let count = |rows: &[Value], status: &str| rows.iter().filter(|row| row["status"] == status).count();

    let preview = pages(json!({"preview": true, "limit": 2}), 6).await;
    assert_eq!((count(&preview, "migrated"), count(&preview, "refused")), (5, 1), "{preview:?}");
    for row in preview.iter().filter(|row| row["status"] == "migrated") {
        assert_eq!((&row["before"]["balance"], &row["after"]["balance"]), (&json!(100), &json!(300)));
    }
    assert_eq!(shop.subscription(&subscriptions[0]).await["variant_version"], 1, "a preview changes nothing");

    // Three now, with a key: repeated, it is answered as the first time and moves nobody else.
    let three = json!({"limit": 3});
    let first = shop.client().post_keyed(&migrate, "k", &three).await;
    let again = shop.client().post_keyed(&migrate, "k", &three).await;
    assert_eq!((again.is_replayed(), again.is(200)), (true, first.is(200)));
    shop.client().post_keyed(&migrate, "k", &json!({"limit": 4})).await.refused(422, "idempotency_key_reused");
    let mut versions = 0;
    for subscription in &subscriptions {
        let version = shop.subscription(subscription).await["variant_version"].as_u64().unwrap();
        versions += usize::try_from(version).unwrap();
    }
    assert!((9..=10).contains(&versions), "three of seven, or two and the paused one: {versions}");

    let rest = pages(json!({"limit": 2}), 13 - versions).await;
    assert_eq!(count(&rest, "refused"), 1);
    assert_eq!(rest.iter().find(|row| row["status"] == "refused").unwrap()["code"], "invalid_transition");
    for (user, subscription) in subscriptions.iter().enumerate() {
        let (version, balance) = if user == 3 || user == 4 { (1, 100) } else { (2, 300) };
        assert_eq!(shop.subscription(subscription).await["variant_version"], version, "u{user}");
        assert_eq!(shop.balance(&format!("u{user}")).await, balance, "u{user}");
    }
    for body in [json!({"limit": 0}), json!({"limit": 1_001}), json!({"cursor": "x"}), json!({"at": "then"})] {
        shop.client().post(&migrate, &body).await.refused(422, "validation_failed");
    }
    let later = json!({"at": "period_end", "credits": "reset"});
    shop.client().post(&migrate, &later).await.refused(422, "validation_failed");
    shop.client()
        .post("/v1/variants/var_00000000000000000000000000/migrate", &json!({}))
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn a_migration_at_the_period_end_waits_for_it() {
    let shop = Shop::open().await;
    let own = shop.variant(&shop.base, &variant(100, json!({"billing_mode": "postpaid"}))).await;
    let subscription = shop.subscribe("u", &own).await;
    let path = format!("/v1/variants/{own}");
    shop.client().put(&path, &variant(300, json!({"billing_mode": "postpaid"}))).await.is(200);
    let migrate = format!("{path}/migrate");
    let page = shop.client().post(&migrate, &json!({"at": "period_end"})).await.is(200);
    assert_eq!((&page["data"][0]["status"], &page["migrated"]), (&json!("migrated"), &json!(1)));
    let page = shop.client().post(&migrate, &json!({"at": "period_end"})).await.is(200);
    assert_eq!((&page["data"][0]["status"], &page["migrated"]), (&json!("unchanged"), &json!(0)));
    let waiting = shop.subscription(&subscription).await;
    assert_eq!((&waiting["pending_change"]["variant_version"], shop.balance("u").await), (&json!(2), 100));
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!(shop.subscription(&subscription).await["variant_version"], 2);
    assert_eq!(shop.balance("u").await, 300);
}

#[tokio::test]
async fn a_features_rules_and_a_plans_name_can_be_replaced() {
    let shop = Shop::open().await;
    let client = shop.client();
    let rules = json!({"name": "calls", "overage_policy": "overdraft", "overdraft_limit": 5, "offline": "deny"});
    let replaced = client.put("/v1/features/f", &rules).await.is(200);
    assert_eq!(
        (&replaced["name"], &replaced["kind"], &replaced["offline"]),
        (&json!("calls"), &json!("metered"), &json!("deny"))
    );
    assert_eq!(replaced["price"]["cost"], 1, "its price stays");
    assert_eq!(client.get("/v1/features/f").await.is(200), replaced);
    let use_of = |units: i64| json!({"end_user_id": "u", "feature_key": "f", "units": units});
    assert_eq!(client.post("/v1/usage", &use_of(5)).await.is(200)["debt"], 5);
    client.post("/v1/usage", &use_of(1)).await.refused(402, "overdraft_limit");
    client.put("/v1/features/f", &json!({"name": "calls", "default": {"enabled": false}})).await.is(200);
    let check = client.get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    assert_eq!((&check["reason"], &check["overage_policy"]), (&json!("no_subscription"), &json!("block")));
    for (body, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": "x", "default": {"enabled": true, "value": 1}}), "/default/value"),
        (json!({"name": "x", "overdraft_limit": -1}), "/overdraft_limit"),
    ] {
        let refused = client.put("/v1/features/f", &body).await;
        assert_eq!(refused.json["errors"][0]["pointer"], pointer, "{body}: {}", refused.text);
    }
    client.put("/v1/features/f", &json!({"name": "x", "kind": "boolean"})).await.refused(422, "validation_failed");
    client.put("/v1/features/none", &json!({"name": "x"})).await.refused(404, "not_found");
    client.put("/v1/features/No%20Key", &json!({"name": "x"})).await.refused(404, "not_found");

    let plan = format!("/v1/plans/{}", shop.base);
    assert_eq!(client.put(&plan, &json!({"name": "Max"})).await.is(200)["kind"], "base");
    assert_eq!(client.get(&plan).await.is(200)["name"], "Max");
    client.put(&plan, &json!({"name": "Max", "kind": "addon"})).await.refused(422, "validation_failed");
}
