//! From an operation's id and its arguments to the generated client's call.

use quotastack::Error;
use quotastack::api::{Client, types};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// What operations take, by the contract's names. The generated client says which of them an operation misses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    end_user_id: Option<String>,
    feature_key: Option<String>,
    plan_id: Option<String>,
    variant_id: Option<String>,
    version: Option<i32>,
    subscription_id: Option<String>,
    usage_id: Option<String>,
    reservation_id: Option<String>,
    block_id: Option<String>,
    topup_id: Option<String>,
    package_id: Option<String>,
    property: Option<String>,
    bucket: Option<types::SummarizeUsageBucket>,
    group_by: Option<types::SummarizeUsageGroupBy>,
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
    units: Option<i64>,
    explain: Option<bool>,
    include: Option<types::GetEndUserCreditsInclude>,
    as_of: Option<String>,
    as_of_seq: Option<i64>,
    after_seq: Option<i64>,
    from_seq: Option<i64>,
    to_seq: Option<i64>,
    limit: Option<i32>,
    cursor: Option<String>,
    idempotency_key: Option<String>,
    body: Option<Box<RawValue>>,
}

/// One call: the named arguments, then the body's type if it has one.
macro_rules! send {
    ($api:ident.$operation:ident, $arguments:ident, [$($name:ident),*] $(, $body:ty)?) => {{
        let request = $api.$operation();
        $(let request = match $arguments.$name {
            Some(value) => request.$name(value),
            None => request,
        };)*
        $(let request = match $arguments.body {
            Some(body) => request.body(serde_json::from_str::<$body>(body.get())?),
            None => request,
        };)?
        let answer = request.send().await.map_err(Error::from)?.into_inner();
        Ok(serde_json::to_string(&answer)?)
    }};
}

/// The answer as JSON.
pub(crate) async fn call(api: &Client, operation: &str, arguments: &str) -> Result<String, Failure> {
    let given: Arguments = serde_json::from_str(arguments)?;
    match operation {
        "check_entitlement" => send!(api.check_entitlement, given, [end_user_id, feature_key, units, explain]),
        "check_entitlements" => send!(api.check_entitlements, given, [], types::CheckEntitlements),
        "list_entitlements" => send!(api.list_entitlements, given, [end_user_id, explain, limit, cursor]),
        "record_usage" => send!(api.record_usage, given, [idempotency_key], types::RecordUsage),
        "record_usage_batch" => send!(api.record_usage_batch, given, [idempotency_key], types::RecordUsageBatch),
        "create_grant" => send!(api.create_grant, given, [idempotency_key], types::CreateGrant),
        "get_end_user_credits" => {
            send!(api.get_end_user_credits, given, [end_user_id, include, as_of, as_of_seq])
        }
        "list_ledger_entries" => send!(
            api.list_ledger_entries,
            given,
            [
                end_user_id,
                after_seq,
                kind,
                feature_key,
                usage_id,
                reservation_id,
                topup_id,
                subscription_id,
                from,
                to,
                limit
            ]
        ),
        "get_ledger_proof" => send!(api.get_ledger_proof, given, [end_user_id, from_seq, to_seq]),
        "create_feature" => send!(api.create_feature, given, [idempotency_key], types::CreateFeature),
        "list_features" => send!(api.list_features, given, [limit, cursor]),
        "get_feature" => send!(api.get_feature, given, [feature_key]),
        "replace_feature" => send!(api.replace_feature, given, [feature_key, idempotency_key], types::FeatureRules),
        "create_plan" => send!(api.create_plan, given, [idempotency_key], types::CreatePlan),
        "list_plans" => send!(api.list_plans, given, [limit, cursor]),
        "get_plan" => send!(api.get_plan, given, [plan_id]),
        "rename_plan" => send!(api.rename_plan, given, [plan_id, idempotency_key], types::RenamePlan),
        "create_variant" => send!(api.create_variant, given, [plan_id, idempotency_key], types::VariantInput),
        "list_variants" => send!(api.list_variants, given, [plan_id, limit, cursor]),
        "get_variant" => send!(api.get_variant, given, [variant_id, version]),
        "replace_variant" => send!(api.replace_variant, given, [variant_id, idempotency_key], types::VariantInput),
        "archive_variant" => send!(api.archive_variant, given, [variant_id, idempotency_key]),
        "migrate_variant" => send!(api.migrate_variant, given, [variant_id, idempotency_key], types::MigrateVariant),
        "create_subscription" => send!(api.create_subscription, given, [idempotency_key], types::CreateSubscription),
        "get_subscription" => send!(api.get_subscription, given, [subscription_id]),
        "list_subscriptions" => send!(api.list_subscriptions, given, [end_user_id, limit, cursor]),
        "renew_subscription" => {
            send!(api.renew_subscription, given, [subscription_id, idempotency_key], types::RenewSubscription)
        }
        "mark_subscription_paid" => {
            send!(api.mark_subscription_paid, given, [subscription_id, idempotency_key], types::MarkSubscriptionPaid)
        }
        "mark_subscription_overdue" => {
            send!(
                api.mark_subscription_overdue,
                given,
                [subscription_id, idempotency_key],
                types::MarkSubscriptionOverdue
            )
        }
        "convert_subscription" => {
            send!(api.convert_subscription, given, [subscription_id, idempotency_key], types::ConvertSubscription)
        }
        "change_subscription" => {
            send!(api.change_subscription, given, [subscription_id, idempotency_key], types::ChangeSubscription)
        }
        "pause_subscription" => {
            send!(api.pause_subscription, given, [subscription_id, idempotency_key], types::PauseSubscription)
        }
        "resume_subscription" => {
            send!(api.resume_subscription, given, [subscription_id, idempotency_key], types::ResumeSubscription)
        }
        "cancel_subscription" => {
            send!(api.cancel_subscription, given, [subscription_id, idempotency_key], types::CancelSubscription)
        }
        "uncancel_subscription" => {
            send!(api.uncancel_subscription, given, [subscription_id, idempotency_key], types::UncancelSubscription)
        }
        "list_usage" => {
            send!(api.list_usage, given, [end_user_id, feature_key, reservation_id, from, to, limit, cursor])
        }
        "summarize_usage" => send!(
            api.summarize_usage,
            given,
            [from, to, bucket, group_by, property, end_user_id, feature_key, limit, cursor]
        ),
        "get_usage" => send!(api.get_usage, given, [usage_id]),
        "void_usage" => send!(api.void_usage, given, [usage_id, idempotency_key], types::VoidUsage),
        "consume" => send!(api.consume, given, [idempotency_key], types::RecordUsage),
        "create_reservation" => send!(api.create_reservation, given, [idempotency_key], types::CreateReservation),
        "list_reservations" => send!(api.list_reservations, given, [end_user_id, limit, cursor]),
        "get_reservation" => send!(api.get_reservation, given, [reservation_id]),
        "commit_reservation" => {
            send!(api.commit_reservation, given, [reservation_id, idempotency_key], types::CommitReservation)
        }
        "release_reservation" => {
            send!(api.release_reservation, given, [reservation_id, idempotency_key], types::ReleaseReservation)
        }
        "extend_reservation" => {
            send!(api.extend_reservation, given, [reservation_id, idempotency_key], types::ExtendReservation)
        }
        "adjust_credits" => send!(api.adjust_credits, given, [idempotency_key], types::AdjustCredits),
        "void_block" => send!(api.void_block, given, [block_id, idempotency_key], types::VoidBlock),
        "create_topup" => send!(api.create_topup, given, [idempotency_key], types::CreateTopup),
        "list_topups" => send!(api.list_topups, given, [end_user_id, limit, cursor]),
        "get_topup" => send!(api.get_topup, given, [topup_id]),
        "refund_topup" => send!(api.refund_topup, given, [topup_id, idempotency_key], types::RefundTopup),
        "create_price" => send!(api.create_price, given, [feature_key, idempotency_key], types::CreatePrice),
        "list_prices" => send!(api.list_prices, given, [feature_key]),
        "create_topup_package" => send!(api.create_topup_package, given, [idempotency_key], types::TopupPackageInput),
        "list_topup_packages" => send!(api.list_topup_packages, given, [limit, cursor]),
        "get_topup_package" => send!(api.get_topup_package, given, [package_id]),
        "replace_topup_package" => {
            send!(api.replace_topup_package, given, [package_id, idempotency_key], types::TopupPackageInput)
        }
        "archive_topup_package" => send!(api.archive_topup_package, given, [package_id, idempotency_key]),
        "list_overrides" => send!(api.list_overrides, given, [end_user_id]),
        "get_override" => send!(api.get_override, given, [end_user_id, feature_key]),
        "set_override" => {
            send!(api.set_override, given, [end_user_id, feature_key, idempotency_key], types::OverrideInput)
        }
        "remove_override" => send!(api.remove_override, given, [end_user_id, feature_key, idempotency_key]),
        "list_sidecars" => send!(api.list_sidecars, given, [limit, cursor]),
        "get_sandbox_clock" => send!(api.get_sandbox_clock, given, []),
        "set_sandbox_clock" => send!(api.set_sandbox_clock, given, [idempotency_key], types::SetSandboxClock),
        _ => Err(Error::Invalid(format!("there is no operation `{operation}`")).into()),
    }
}
