//! The catalogue that the quick start assumes: one metered feature, one plan with credits, one subscriber.

use serde_json::json;

use super::Api;
use super::api::text;

/// The subscriber of the quick start.
pub(crate) const END_USER: &str = "user_123";
/// The feature of the quick start; one unit costs one credit.
pub(crate) const FEATURE: &str = "ai_request";
/// What a billing period grants.
pub(crate) const GRANTED: i64 = 50_000;

/// Creates feature, plan and variant, and gives back the variant's id.
pub(crate) async fn create(api: &Api) -> anyhow::Result<String> {
    let price = json!({ "type": "per_unit", "cost": 1, "per_units": 1 });
    api.post(
        "/v1/features",
        &json!({ "feature_key": FEATURE, "name": "AI request", "kind": "metered", "price": price }),
    )
    .await?;
    let plan = api.post("/v1/plans", &json!({ "name": "Pro", "kind": "base" })).await?;
    let variant = json!({
        "name": "monthly",
        "billing_period": { "count": 1, "unit": "month" },
        "billing_mode": "prepaid",
        "grants": [{ "amount": GRANTED, "interval": "billing_period", "priority": 100, "feature_keys": [] }],
        "entitlements": [{ "feature_key": FEATURE }],
    });
    let variant = api.post(&format!("/v1/plans/{}/variants", text(&plan, "id")?), &variant).await?;
    Ok(text(&variant, "id")?.to_owned())
}

/// Subscribes an end user.
pub(crate) async fn subscribe(api: &Api, end_user_id: &str, variant_id: &str) -> anyhow::Result<()> {
    api.post("/v1/subscriptions", &json!({ "end_user_id": end_user_id, "plan_variant_id": variant_id })).await?;
    Ok(())
}
