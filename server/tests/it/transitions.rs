//! Every state of a subscription and every operation on it, over HTTP: what docs/subscriptions.md does not allow is
//! `invalid_transition`, says what helps, and changes nothing; what it allows happens.

use quotastack_core::subscription::SubscriptionStatus as S;
use quotastack_core::subscription::machine::{Happening as H, next};
use serde_json::{Value, json};

use crate::support::shop::Shop;

/// When renewals are due of what began with the shop.
const LATE_IN_THE_PERIOD: &str = "2100-01-29T00:00:00Z";

/// Path, body and what it is in the table.
fn operations(other: &str) -> Vec<(&'static str, Value, H)> {
    vec![
        ("renew", json!({}), H::Renew),
        ("mark_paid", json!({}), H::MarkPaid),
        ("mark_overdue", json!({}), H::MarkOverdue),
        ("convert", json!({}), H::Convert),
        ("convert", json!({"at": "trial_end"}), H::ConvertAtTrialEnd),
        ("change", json!({ "plan_variant_id": other }), H::Change),
        ("change", json!({"plan_variant_id": other, "at": "period_end"}), H::ChangeAtPeriodEnd),
        ("change", json!({"quantity": 2}), H::Change),
        ("pause", json!({}), H::Pause),
        ("pause", json!({"at": "period_end"}), H::PauseAtPeriodEnd),
        ("resume", json!({}), H::Resume),
        ("cancel", json!({"at": "now"}), H::Cancel),
        ("cancel", json!({"at": "period_end"}), H::CancelAtPeriodEnd),
        ("uncancel", json!({}), H::Uncancel),
    ]
}

/// What everybody can see of a subscription and its end user.
async fn seen(shop: &Shop, subscription: &Value) -> (Value, Value, Value) {
    let client = shop.client();
    let user = subscription["end_user_id"].as_str().unwrap();
    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    let ledger = client.get(&format!("/v1/end_users/{user}/ledger?limit=100")).await.is(200);
    let credits = client.get(&format!("/v1/end_users/{user}/credits?include=blocks")).await.is(200);
    (client.get(&path).await.is(200), credits, ledger)
}

#[tokio::test]
async fn every_operation_in_every_state_does_what_the_table_says() {
    let shop = Shop::open().await;
    let (plain, other) = (shop.variant(100, json!({})).await, shop.variant(50, json!({})).await);
    let trial = shop.variant(100, json!({"trial_days": 60})).await;
    let short_trial = shop.variant(100, json!({"trial_days": 1, "trial_end": "expire"})).await;
    let mut pairs = Vec::new();
    for state in S::ALL {
        for (index, (what, body, happening)) in operations(&other).into_iter().enumerate() {
            let variant = match state {
                S::Trialing => &trial,
                S::Expired => &short_trial,
                _ => &plain,
            };
            let mut order = json!({"end_user_id": format!("{}-{index}", state.name()), "plan_variant_id": variant});
            if state == S::Scheduled {
                order["start_at"] = json!("2100-06-01T00:00:00Z");
            }
            let made = shop.client().post("/v1/subscriptions", &order).await.is(201);
            pairs.push((state, made, what, body, happening));
        }
    }
    shop.clock(LATE_IN_THE_PERIOD).await;
    for (state, subscription, what, body, happening) in pairs {
        let (to_state, its_body) = match state {
            S::PastDue => ("mark_overdue", json!({})),
            S::Paused => ("pause", json!({})),
            S::Canceled => ("cancel", json!({"at": "now"})),
            _ => ("", json!({})),
        };
        if !to_state.is_empty() {
            shop.ask(&subscription, to_state, its_body).await;
        }
        assert_eq!(shop.status(&subscription).await, state.name());
        let path = format!("/v1/subscriptions/{}/{what}", subscription["id"].as_str().unwrap());
        let before = seen(&shop, &subscription).await;
        let answer = shop.client().post(&path, &body).await;
        // Seats are not a payment: a change of nothing else does not bring back what is past due.
        let is_payment = state != S::PastDue || body.get("plan_variant_id").is_some() || what != "change";
        // More seats leave a trial what it is; the other variant has none.
        let stays_in_trial = state == S::Trialing && body.get("quantity").is_some();
        let happening = if stays_in_trial { H::ChangeInTrial } else { happening };
        match next(state, happening).filter(|_| is_payment) {
            Some(to) => assert_eq!(answer.is(200)["status"], to.name(), "{what} {body} in {state:?}"),
            None => {
                let problem = answer.refused(409, "invalid_transition");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("is {}: {what}", state.name())), "{detail}");
                assert!(detail.contains(" is not possible; "), "{detail}");
                assert_eq!(seen(&shop, &subscription).await, before, "{what} {body} in {state:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_over_waits_for_nothing() {
    let shop = Shop::open().await;
    let (variant, other) = (shop.variant(100, json!({})).await, shop.variant(50, json!({})).await);
    let own = shop.subscribe(&variant).await;
    let waits = shop.ask(&own, "change", json!({"plan_variant_id": other, "at": "period_end"})).await;
    assert_eq!(waits["pending_change"]["plan_variant_id"], json!(other));
    shop.clock("2100-02-01T00:00:00Z").await;
    let path = format!("/v1/subscriptions/{}", own["id"].as_str().unwrap());
    let unpaid = shop.client().get(&path).await.is(200);
    assert_eq!((&unpaid["status"], &unpaid["grace_ends_at"]), (&json!("past_due"), &json!("2100-02-03T00:00:00Z")));
    assert!(unpaid["pending_change"].is_object(), "a renewal would take it: {unpaid}");
    shop.clock("2100-02-03T00:00:00Z").await;
    let over = shop.client().get(&path).await.is(200);
    let listed = shop.client().get("/v1/subscriptions?end_user_id=u").await.is(200);
    for over in [&over, &listed["data"][0]] {
        assert_eq!((&over["status"], &over["grace_ends_at"]), (&json!("expired"), &Value::Null));
        assert_eq!(over["pending_change"], Value::Null);
    }
    shop.close().await;
}
