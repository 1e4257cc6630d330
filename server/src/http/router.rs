//! Every path of the API, and what wraps them.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

use crate::http::state::ApiState;
use crate::http::{
    corrections, credits, entitlements, error, features, ledger, migration, overrides, packages, plans, prices, proof,
    reservations, sandbox, service, sidecars, subscription_orders, subscriptions, topups, usage, usage_list,
    usage_summary, variants,
};

/// The whole API.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/v1/entitlements/check", get(entitlements::check_entitlement).post(entitlements::check_entitlements))
        .route("/v1/usage", post(usage::record_usage).get(usage_list::list_usage))
        .route("/v1/usage/batch", post(usage::record_usage_batch))
        .route("/v1/usage/summary", get(usage_summary::summarize_usage))
        .route("/v1/usage/{usage_id}", get(usage::get_usage))
        .route("/v1/usage/{usage_id}/void", post(usage::void_usage))
        .route("/v1/consume", post(usage::consume))
        .route("/v1/reservations", post(reservations::create_reservation).get(reservations::list_reservations))
        .route("/v1/reservations/{reservation_id}", get(reservations::get_reservation))
        .route("/v1/reservations/{reservation_id}/commit", post(reservations::commit_reservation))
        .route("/v1/reservations/{reservation_id}/release", post(reservations::release_reservation))
        .route("/v1/reservations/{reservation_id}/extend", post(reservations::extend_reservation))
        .route("/v1/credits/grants", post(credits::create_grant))
        .route("/v1/credits/adjustments", post(corrections::adjust_credits))
        .route("/v1/credits/blocks/{block_id}/void", post(corrections::void_block))
        .route("/v1/topups", post(topups::create_topup).get(topups::list_topups))
        .route("/v1/topups/{topup_id}", get(topups::get_topup))
        .route("/v1/topups/{topup_id}/refund", post(topups::refund_topup))
        .route("/v1/topup_packages", post(packages::create_topup_package).get(packages::list_topup_packages))
        .route(
            "/v1/topup_packages/{package_id}",
            get(packages::get_topup_package)
                .put(packages::replace_topup_package)
                .delete(packages::archive_topup_package),
        )
        .route("/v1/end_users/{end_user_id}/entitlements", get(entitlements::list_entitlements))
        .route("/v1/end_users/{end_user_id}/overrides", get(overrides::list_overrides))
        .route(
            "/v1/end_users/{end_user_id}/overrides/{feature_key}",
            get(overrides::get_override).put(overrides::set_override).delete(overrides::remove_override),
        )
        .route("/v1/end_users/{end_user_id}/credits", get(credits::get_end_user_credits))
        .route("/v1/end_users/{end_user_id}/ledger", get(ledger::list_ledger_entries))
        .route("/v1/end_users/{end_user_id}/ledger/proof", get(proof::get_ledger_proof))
        .route("/v1/features", post(features::create_feature).get(features::list_features))
        .route("/v1/features/{feature_key}", get(features::get_feature).put(features::replace_feature))
        .route("/v1/features/{feature_key}/prices", post(prices::create_price).get(prices::list_prices))
        .route("/v1/plans", post(plans::create_plan).get(plans::list_plans))
        .route("/v1/plans/{plan_id}", get(plans::get_plan).put(plans::rename_plan))
        .route("/v1/plans/{plan_id}/variants", post(variants::create_variant).get(variants::list_variants))
        .route("/v1/sidecars", get(sidecars::list_sidecars))
        .route("/v1/variants/{variant_id}/migrate", post(migration::migrate_variant))
        .route(
            "/v1/variants/{variant_id}",
            get(variants::get_variant).put(variants::replace_variant).delete(variants::archive_variant),
        )
        .route("/v1/subscriptions", post(subscriptions::create_subscription).get(subscriptions::list_subscriptions))
        .route("/v1/subscriptions/{subscription_id}", get(subscriptions::get_subscription))
        .route("/v1/subscriptions/{subscription_id}/renew", post(subscription_orders::renew_subscription))
        .route("/v1/subscriptions/{subscription_id}/mark_paid", post(subscription_orders::mark_subscription_paid))
        .route("/v1/subscriptions/{subscription_id}/mark_overdue", post(subscription_orders::mark_subscription_overdue))
        .route("/v1/subscriptions/{subscription_id}/convert", post(subscription_orders::convert_subscription))
        .route("/v1/subscriptions/{subscription_id}/change", post(subscription_orders::change_subscription))
        .route("/v1/subscriptions/{subscription_id}/pause", post(subscription_orders::pause_subscription))
        .route("/v1/subscriptions/{subscription_id}/resume", post(subscription_orders::resume_subscription))
        .route("/v1/subscriptions/{subscription_id}/cancel", post(subscription_orders::cancel_subscription))
        .route("/v1/subscriptions/{subscription_id}/uncancel", post(subscription_orders::uncancel_subscription))
        .route("/v1/sandbox/clock", get(sandbox::get_sandbox_clock).post(sandbox::set_sandbox_clock))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/metrics", get(service::metrics))
        .route("/openapi.yaml", get(service::openapi))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(state.clone(), service::measure))
        .layer(from_fn(error::finish))
        .with_state(state)
}
