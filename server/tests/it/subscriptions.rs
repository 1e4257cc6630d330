//! Subscriptions over the API, by the sandbox clock: renewals, grace, pauses, trials, changes, rollover.

use serde_json::{Value, json};

use crate::support::shop::Shop;

#[tokio::test]
async fn a_prepaid_month_is_renewed_once_in_time_or_in_its_grace_or_is_over() {
    let shop = Shop::open().await;
    let own = shop.subscribe(&shop.variant(1_000, json!({"renewal_due_days": 3, "grace_period_days": 3})).await).await;
    shop.refused(&own, "renew", json!({}), "renewal_not_due").await;
    shop.clock("2100-01-28T00:00:00Z").await;
    assert_eq!(shop.ask(&own, "renew", json!({})).await["renewed"], true);
    shop.refused(&own, "renew", json!({}), "already_renewed").await;
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 1_000));

    // Nobody renews the second period.
    shop.clock("2100-03-02T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("past_due", 1_000));
    shop.spend(100, "in the grace").await;
    let renewed = shop.ask(&own, "renew", json!({})).await;
    assert_eq!(renewed["current_period"]["start"], "2100-03-02T00:00:00Z", "no free days");
    shop.clock("2100-04-02T00:00:00Z").await;
    assert_eq!(shop.status(&own).await, "past_due");
    shop.clock("2100-04-04T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("expired", 0));
    shop.refused(&own, "renew", json!({}), "invalid_transition").await;
    shop.close().await;
}

#[tokio::test]
async fn a_paused_subscription_denies_and_goes_on_where_it_stood() {
    let shop = Shop::open().await;
    let entitlements = json!([{"feature_key": "f"}]);
    let own = shop.subscribe(&shop.variant(500, json!({"entitlements": entitlements})).await).await;
    shop.clock("2100-01-11T00:00:00Z").await;
    let paused = shop.ask(&own, "pause", json!({"resume_at": "2100-02-20T00:00:00Z"})).await;
    assert_eq!((&paused["status"], &paused["resume_at"]), (&json!("paused"), &json!("2100-02-20T00:00:00Z")));
    let check = shop.client().get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    assert_eq!((&check["allowed"], &check["reason"]), (&json!(false), &json!("subscription_paused")));
    shop.refused(&own, "pause", json!({}), "invalid_transition").await;
    shop.clock("2100-02-20T00:00:00Z").await;
    let path = format!("/v1/subscriptions/{}", own["id"].as_str().unwrap());
    let resumed = shop.client().get(&path).await.is(200);
    assert_eq!(resumed["current_period"]["end"], "2100-03-12T00:00:00Z", "ten days ran, twenty are left");
    assert_eq!((resumed["status"].as_str(), shop.balance().await), (Some("active"), 500));
    shop.close().await;
}

#[tokio::test]
async fn a_trial_converts_or_is_over() {
    let shop = Shop::open().await;
    let trial = shop.variant(100, json!({"trial_days": 7, "trial_end": "expire"})).await;
    let own = shop.subscribe(&trial).await;
    assert_eq!((&own["status"], &own["trial_end"]), (&json!("trialing"), &json!("2100-01-08T00:00:00Z")));
    assert_eq!(shop.ask(&own, "convert", json!({"at": "trial_end"})).await["status"], "trialing");
    shop.clock("2100-01-08T00:00:00Z").await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("active", 100));
    shop.refused(&own, "convert", json!({}), "invalid_transition").await;
    shop.ask(&own, "cancel", json!({"at": "now", "credits": "void"})).await;
    assert_eq!((shop.status(&own).await.as_str(), shop.balance().await), ("canceled", 0));
    let again = shop.subscribe(&trial).await;
    assert_eq!(again["status"], "active", "a trial is had once");
    shop.close().await;
}

#[tokio::test]
async fn a_change_now_takes_back_what_was_not_earned_and_one_at_the_end_waits() {
    let shop = Shop::open().await;
    let small = shop.variant(1_000, json!({})).await;
    let large = shop.variant(2_000, json!({})).await;
    let own = shop.subscribe(&small).await;
    shop.spend(600, "first half").await;
    shop.clock("2100-01-16T00:00:00Z").await;
    // Half of 1,000 is not earned: 400 are there, 100 are owed. Half of 2,000, less that.
    let changed = shop.ask(&own, "change", json!({"plan_variant_id": large})).await;
    assert_eq!((changed["plan_variant_id"].as_str(), shop.balance().await), (Some(large.as_str()), 900));
    let body = json!({"plan_variant_id": small, "quantity": 2, "at": "period_end"});
    let pending = shop.ask(&own, "change", body).await;
    let expected = json!({"plan_variant_id": small, "variant_version": 1, "quantity": 2});
    assert_eq!((shop.balance().await, &pending["pending_change"]), (900, &expected));
    shop.clock("2100-01-28T00:00:00Z").await;
    shop.ask(&own, "renew", json!({})).await;
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!(shop.balance().await, 2_000, "two seats of 1,000");
    shop.close().await;
}

#[tokio::test]
async fn what_is_asked_for_the_end_of_the_period_can_be_taken_back() {
    let shop = Shop::open().await;
    let own = shop.subscribe(&shop.variant(10, json!({"billing_mode": "postpaid"})).await).await;
    let canceled = shop.ask(&own, "cancel", json!({"at": "period_end"})).await;
    assert_eq!((&canceled["status"], &canceled["cancel_at"]), (&json!("active"), &json!("2100-01-31T00:00:00Z")));
    assert_eq!(shop.ask(&own, "uncancel", json!({"clear": "cancel_at"})).await["cancel_at"], Value::Null);
    shop.clock("2100-02-01T00:00:00Z").await;
    assert_eq!(shop.status(&own).await, "active", "postpaid periods follow each other");
    let overdue = shop.ask(&own, "mark_overdue", json!({})).await;
    assert_eq!((&overdue["status"], &overdue["grace_ends_at"]), (&json!("past_due"), &json!("2100-02-04T00:00:00Z")));
    assert_eq!(shop.ask(&own, "mark_paid", json!({})).await["status"], "active");
    shop.ask(&own, "cancel", json!({"at": "period_end"})).await;
    shop.clock("2100-03-02T00:00:00Z").await;
    assert_eq!(shop.status(&own).await, "canceled");
    shop.close().await;
}

#[tokio::test]
async fn what_is_left_rolls_over_up_to_its_cap_and_credit_may_come_every_week() {
    let shop = Shop::open().await;
    let grants = json!([
        {"amount": 100, "interval": "billing_period", "rollover_percent": 50, "rollover_cap": 30},
        {"amount": 7, "interval": {"count": 1, "unit": "week"}},
    ]);
    let own = shop.subscribe(&shop.variant(1, json!({"billing_mode": "postpaid", "grants": grants})).await).await;
    assert_eq!(shop.balance().await, 107);
    shop.clock("2100-01-08T00:00:00Z").await;
    assert_eq!(shop.balance().await, 107, "the week's credit is new every week");
    shop.clock("2100-01-31T00:00:00Z").await;
    assert_eq!(shop.balance().await, 137, "30 of 50 roll");
    assert_eq!(shop.status(&own).await, "active");
    shop.close().await;
}

#[tokio::test]
async fn orders_that_say_nothing_sensible_are_refused_and_repeats_are_answered() {
    let shop = Shop::open().await;
    let variant = shop.variant(10, json!({})).await;
    let own = shop.subscribe(&variant).await;
    let path = |what: &str| format!("/v1/subscriptions/{}/{what}", own["id"].as_str().unwrap());
    for (what, body, pointer) in [
        ("change", json!({}), "/plan_variant_id"),
        ("change", json!({"plan_variant_id": "var_1"}), "/plan_variant_id"),
        ("change", json!({"quantity": 0}), "/quantity"),
        ("change", json!({"plan_variant_id": variant, "at": "period_end", "credits": "reset"}), "/credits"),
        ("cancel", json!({}), ""),
        ("pause", json!({"until": "2100-01-02T00:00:00Z"}), ""),
    ] {
        let problem = shop.client().post(&path(what), &body).await.refused(422, "validation_failed");
        assert!(problem["errors"][0]["pointer"].as_str().unwrap().starts_with(pointer), "{what}: {problem}");
    }
    shop.client().post("/v1/subscriptions/sub_1/renew", &json!({})).await.refused(404, "not_found");
    let nobody = "/v1/subscriptions/sub_01hzy3v7d2f8rs9k4m5n6p7q8r/renew";
    shop.client().post(nobody, &json!({})).await.refused(404, "not_found");

    let pause = json!({"at": "period_end"});
    let first = shop.client().post_keyed(&path("pause"), "k", &pause).await.is(200);
    let repeat = shop.client().post_keyed(&path("pause"), "k", &pause).await;
    assert!(repeat.is_replayed());
    assert_eq!(repeat.is(200), first);
    shop.client().post_keyed(&path("pause"), "k", &json!({})).await.refused(422, "idempotency_key_reused");
    let scheduled = json!({"end_user_id": "later", "plan_variant_id": variant, "start_at": "2100-02-01T00:00:00Z"});
    let scheduled = shop.client().post("/v1/subscriptions", &scheduled).await.is(201);
    assert_eq!(scheduled["status"], "scheduled");
    let grants = json!({"end_user_id": "x", "plan_variant_id": variant, "grants": "none"});
    shop.client().post("/v1/subscriptions", &grants).await.refused(422, "validation_failed");
    let imported = json!({"end_user_id": "x", "plan_variant_id": variant, "grants": "none", "period_start": "2099-12-20T00:00:00Z"});
    let imported = shop.client().post("/v1/subscriptions", &imported).await.is(201);
    assert_eq!(imported["current_period"]["end"], "2100-01-19T00:00:00Z");
    shop.close().await;
}
