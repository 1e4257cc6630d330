//! The Rust SDK's calls on subscriptions, against the real server.

use quotastack::Change;
use quotastack::api::types::{CancelSubscriptionAt, CancelSubscriptionCredits, UncancelSubscriptionClear};
use serde_json::{Value, json};

use crate::support::server::TestServer;

#[tokio::test]
async fn a_subscriptions_life_through_the_sdk() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = async |amount: i64, trial_days: i64| {
        let grants = json!([{"amount": amount, "interval": "billing_period"}]);
        let period = json!({"count": 30, "unit": "day"});
        let body = json!({"name": "v", "billing_period": period, "trial_days": trial_days, "grants": grants});
        let path = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
        client.post(&path, &body).await.is(201)["id"].as_str().unwrap().to_owned()
    };
    let (small, large) = (variant(1_000, 7).await, variant(2_000, 0).await);
    let key = client.key().unwrap();
    let sdk = quotastack::Client::builder().api_key(key).base_url(server.base()).build().unwrap();
    let status = |subscription: &quotastack::Subscription| {
        serde_json::to_value(subscription).unwrap()["status"].as_str().unwrap().to_owned()
    };

    let own = sdk.create_subscription("u", &small).await.unwrap();
    assert_eq!(status(&own), "trialing");
    assert_eq!(status(&sdk.convert_subscription(&own.id).await.unwrap()), "active");
    let preview = sdk.preview_change(&own.id, Change::to(&large)).await.unwrap();
    let preview = preview.preview.unwrap();
    assert_eq!((preview.before.balance, preview.after.balance), (1_000, 2_000));
    assert_eq!(sdk.subscription(&own.id).await.unwrap().plan_variant_id, small);
    assert_eq!(sdk.change_subscription(&own.id, Change::to(&large)).await.unwrap().plan_variant_id, large);
    let seats = Change { quantity: Some(3), ..Change::default() };
    assert_eq!(sdk.change_subscription(&own.id, seats).await.unwrap().quantity, 3);
    assert_eq!(sdk.credits("u").await.unwrap().balance, 6_000);
    assert_eq!(status(&sdk.mark_subscription_overdue(&own.id).await.unwrap()), "past_due");
    assert_eq!(status(&sdk.mark_subscription_paid(&own.id).await.unwrap()), "active");
    let paused = sdk.pause_subscription(&own.id, Some("2100-01-05T00:00:00Z")).await.unwrap();
    assert_eq!((status(&paused).as_str(), paused.resume_at.as_deref()), ("paused", Some("2100-01-05T00:00:00Z")));
    assert_eq!(status(&sdk.resume_subscription(&own.id).await.unwrap()), "active");

    let early = sdk.renew_subscription(&own.id).await.unwrap_err();
    assert!(early.to_string().contains("renewal_not_due"), "{early}");
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-29T00:00:00Z"})).await.is(200);
    assert!(sdk.renew_subscription(&own.id).await.unwrap().renewed);

    let (end, keep) = (CancelSubscriptionAt::PeriodEnd, CancelSubscriptionCredits::Keep);
    assert!(sdk.cancel_subscription(&own.id, end, keep).await.unwrap().cancel_at.is_some());
    let cleared = sdk.uncancel_subscription(&own.id, UncancelSubscriptionClear::CancelAt).await.unwrap();
    assert_eq!(cleared.cancel_at, None);
    let (now, void) = (CancelSubscriptionAt::Now, CancelSubscriptionCredits::Void);
    assert_eq!(status(&sdk.cancel_subscription(&own.id, now, void).await.unwrap()), "canceled");
    assert_eq!(sdk.credits("u").await.unwrap().balance, 0);
    let events: Value = client.get("/v1/subscriptions?end_user_id=u").await.is(200);
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
}
