//! What is sent for a version of a variant, and its checks.

use std::collections::BTreeMap;
use std::fmt;

use quotastack_core::api::fields;
use quotastack_core::api::price::PriceJson;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::{
    BillingMode, Contract, Entitlement, FeatureKind, GrantInterval, GrantOn, GrantTemplate, Merge, OveragePolicy,
    PlanKind, TrialEnd, Variant, VariantPrice,
};
use quotastack_core::ids::FeatureKey;
use quotastack_core::limits::{CONTRACT_PERIODS_MAX, ENTITLEMENTS_MAX, GRANT_TEMPLATES_MAX, SUMMARY_DELAY_MINUTES_MAX};
use quotastack_core::time::{Period, PeriodUnit};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::app::error::AppError;
use crate::http::credits::{cap, priority, scope};
use crate::http::error::ApiError;
use crate::http::features::{checked_access, refuse_metered_terms};
use crate::http::state::ApiState;
use crate::store::plans::PlanRow;
use crate::store::types::EnvironmentId;

const PERIOD_COUNT_MAX: i64 = 1_000;
/// Days of a trial, of grace, and of the time in which a period can be renewed.
const DAYS_MAX: u16 = 365;

/// The body of a version of a variant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantJson {
    pub(super) name: String,
    billing_period: PeriodJson,
    #[serde(default)]
    billing_mode: BillingMode,
    #[serde(default, deserialize_with = "fields::not_null")]
    trial_days: Option<i64>,
    trial_end: Option<TrialEnd>,
    #[serde(default, deserialize_with = "fields::not_null")]
    renewal_due_days: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    grace_period_days: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    allow_usage_while_overdue: Option<bool>,
    price: Option<VariantPriceJson>,
    contract: Option<ContractJson>,
    #[serde(default)]
    carry_debt: bool,
    #[serde(default, deserialize_with = "fields::not_null")]
    summary_delay_minutes: Option<i64>,
    #[serde(default)]
    fallback: bool,
    #[serde(default)]
    grants: Vec<TemplateJson>,
    #[serde(default)]
    entitlements: Vec<EntitlementJson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantPriceJson {
    amount: i64,
    currency: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContractJson {
    periods: i64,
    #[serde(default)]
    auto_renew: bool,
    notice_days: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeriodJson {
    count: i64,
    unit: PeriodUnit,
}

impl PeriodJson {
    /// A length of calendar time that can be one.
    pub(super) fn checked(self, pointer: &str) -> Result<Period, Problem> {
        if self.unit == PeriodUnit::Hour {
            return Err(Problem::invalid(format!("{pointer}/unit"), "must be day, week, month or year"));
        }
        self.of_any_unit(pointer)
    }

    /// The same, hours included.
    fn of_any_unit(self, pointer: &str) -> Result<Period, Problem> {
        let count = u16::try_from(self.count).ok();
        let count = count.filter(|count| (1..=PERIOD_COUNT_MAX).contains(&i64::from(*count)));
        let count = count.ok_or_else(|| Problem::invalid(format!("{pointer}/count"), "must be 1 to 1000"))?;
        Ok(Period { count, unit: self.unit })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateJson {
    amount: i64,
    interval: IntervalJson,
    #[serde(default)]
    on: GrantOn,
    expires_after: Option<PeriodJson>,
    rollover_cap: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    priority: Option<i64>,
    #[serde(default)]
    feature_keys: Vec<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    rollover_percent: Option<i64>,
    accumulation_cap: Option<i64>,
    cap_group: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    settle_debt: Option<bool>,
}

/// `"once"`, `"billing_period"`, or a length of time.
#[derive(Debug)]
enum IntervalJson {
    Named(NamedInterval),
    Every(PeriodJson),
}

/// By what stands there, so that what is wrong in a length of time is told at its place.
impl<'de> Deserialize<'de> for IntervalJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Interval;

        impl<'de> Visitor<'de> for Interval {
            type Value = IntervalJson;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"once\", \"billing_period\", or an object of count and unit")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<IntervalJson, E> {
                match name {
                    "once" => Ok(IntervalJson::Named(NamedInterval::Once)),
                    "billing_period" => Ok(IntervalJson::Named(NamedInterval::BillingPeriod)),
                    _ => Err(E::invalid_value(Unexpected::Str(name), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<IntervalJson, A::Error> {
                PeriodJson::deserialize(MapAccessDeserializer::new(fields)).map(IntervalJson::Every)
            }
        }

        deserializer.deserialize_any(Interval)
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamedInterval {
    Once,
    BillingPeriod,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntitlementJson {
    feature_key: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    enabled: Option<bool>,
    value: Option<Box<RawValue>>,
    price: Option<PriceJson>,
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
    merge: Option<Merge>,
}

/// The first version of a variant of `plan`, as the body says it.
pub(super) async fn checked_variant(
    state: &ApiState,
    environment: EnvironmentId,
    plan: &PlanRow,
    body: VariantJson,
) -> Result<Variant, ApiError> {
    if body.grants.len() > GRANT_TEMPLATES_MAX {
        return Err(Problem::invalid("/grants", "has at most 20 grant templates").into());
    }
    if body.entitlements.len() > ENTITLEMENTS_MAX {
        return Err(Problem::invalid("/entitlements", "has at most 500 entitlements").into());
    }
    let grants = body.grants.into_iter().enumerate();
    let grants = grants.map(|(index, grant)| checked_template(grant, &format!("/grants/{index}")));
    let variant = Variant::new(plan.plan_id, plan.kind, body.billing_period.checked("/billing_period")?);
    let variant = Variant {
        billing_mode: body.billing_mode,
        trial_days: days(body.trial_days, 0, "/trial_days")?,
        trial_end: body.trial_end,
        renewal_due_days: days(body.renewal_due_days, variant.renewal_due_days, "/renewal_due_days")?,
        grace_period_days: days(body.grace_period_days, variant.grace_period_days, "/grace_period_days")?,
        allow_usage_while_overdue: body.allow_usage_while_overdue.unwrap_or(variant.allow_usage_while_overdue),
        price: body.price.map(checked_price).transpose()?,
        contract: body.contract.map(|contract| checked_contract(&contract)).transpose()?,
        carry_debt: body.carry_debt,
        summary_delay_minutes: summary_delay(body.summary_delay_minutes, variant.summary_delay_minutes)?,
        fallback: body.fallback,
        grants: grants.collect::<Result<_, _>>()?,
        entitlements: checked_entitlements(state, environment, plan.kind, body.entitlements).await?,
        ..variant
    };
    refuse_contradictions(&variant)?;
    Ok(variant)
}

/// What cannot be said together.
fn refuse_contradictions(variant: &Variant) -> Result<(), Problem> {
    let contradiction = if variant.trial_end.is_some() && variant.trial_days == 0 {
        ("/trial_end", "needs trial_days of 1 or more")
    } else if variant.carry_debt && variant.billing_mode != BillingMode::Postpaid {
        ("/carry_debt", "is only for the billing_mode postpaid: nothing else puts debt onto an invoice")
    } else if variant.fallback && variant.plan_kind != PlanKind::Base {
        ("/fallback", "is only for base plans")
    } else if variant.fallback && variant.trial_days > 0 {
        ("/trial_days", "must be 0: a fallback has no trial")
    } else if variant.fallback && variant.contract.is_some() {
        ("/contract", "must be null: a fallback has no term")
    } else {
        return Ok(());
    };
    Err(Problem::invalid(contradiction.0, contradiction.1))
}

fn checked_price(price: VariantPriceJson) -> Result<VariantPrice, Problem> {
    Ok(VariantPrice {
        amount: fields::amount(price.amount, "/price/amount")?,
        currency: fields::currency(&price.currency, "/price/currency")?,
    })
}

fn checked_contract(contract: &ContractJson) -> Result<Contract, Problem> {
    let periods = u32::try_from(contract.periods).ok();
    let periods = periods.filter(|_| (1..=i64::from(CONTRACT_PERIODS_MAX)).contains(&contract.periods));
    let periods = periods.ok_or_else(|| Problem::invalid("/contract/periods", "must be 1 to 1000"))?;
    let plain = Contract::new(periods, contract.auto_renew);
    Ok(Contract { notice_days: days(contract.notice_days, plain.notice_days, "/contract/notice_days")?, ..plain })
}

fn summary_delay(given: Option<i64>, default: u16) -> Result<u16, Problem> {
    let Some(given) = given else { return Ok(default) };
    let minutes = u16::try_from(given).ok().filter(|minutes| *minutes <= SUMMARY_DELAY_MINUTES_MAX);
    minutes.ok_or_else(|| Problem::invalid("/summary_delay_minutes", "must be 0 to 4320"))
}

fn days(given: Option<i64>, default: u16, pointer: &str) -> Result<u16, Problem> {
    let Some(given) = given else { return Ok(default) };
    let days = u16::try_from(given).ok().filter(|days| *days <= DAYS_MAX);
    days.ok_or_else(|| Problem::invalid(pointer, "must be 0 to 365"))
}

fn checked_template(grant: TemplateJson, pointer: &str) -> Result<GrantTemplate, Problem> {
    let at = |field: &str| format!("{pointer}/{field}");
    let percent = u8::try_from(grant.rollover_percent.unwrap_or(0)).ok().filter(|percent| *percent <= 100);
    let interval = match grant.interval {
        IntervalJson::Named(NamedInterval::Once) => GrantInterval::Once,
        IntervalJson::Named(NamedInterval::BillingPeriod) => GrantInterval::BillingPeriod,
        IntervalJson::Every(period) => GrantInterval::Every(period.of_any_unit(&at("interval"))?),
    };
    let amount = fields::positive_amount(grant.amount, &at("amount"))?;
    Ok(GrantTemplate {
        priority: priority(grant.priority, &at("priority"))?,
        feature_keys: scope(&grant.feature_keys, &at("feature_keys"))?,
        accumulation_cap: cap(grant.accumulation_cap, &at("accumulation_cap"))?,
        cap_group: grant.cap_group.map(|group| fields::cap_group(&group, &at("cap_group"))).transpose()?,
        settles_debt: grant.settle_debt.unwrap_or(true),
        on: grant.on,
        expires_after: grant.expires_after.map(|after| after.of_any_unit(&at("expires_after"))).transpose()?,
        rollover_percent: percent.ok_or_else(|| Problem::invalid(at("rollover_percent"), "must be 0 to 100"))?,
        rollover_cap: cap(grant.rollover_cap, &at("rollover_cap"))?,
        ..GrantTemplate::new(amount, interval)
    })
}

async fn checked_entitlements(
    state: &ApiState,
    environment: EnvironmentId,
    plan_kind: PlanKind,
    entitlements: Vec<EntitlementJson>,
) -> Result<BTreeMap<FeatureKey, Entitlement>, ApiError> {
    let mut checked = BTreeMap::new();
    for (index, entitlement) in entitlements.into_iter().enumerate() {
        let pointer = format!("/entitlements/{index}");
        let at_key = format!("{pointer}/feature_key");
        let key = fields::feature_key(&entitlement.feature_key, &at_key)?;
        let row = state.app.feature(environment, &key).await.map_err(|error| match error {
            AppError::NotFound(detail) => AppError::invalid(&at_key, format!("{detail}; create it first")),
            other => other,
        })?;
        let enabled = entitlement.enabled.unwrap_or(true);
        let access = checked_access(row.feature.kind, enabled, entitlement.value, &pointer)?;
        let (policy, limit) = (entitlement.overage_policy, entitlement.overdraft_limit);
        refuse_metered_terms(row.feature.kind, entitlement.price.is_some(), policy, limit, &pointer)?;
        let joins = plan_kind == PlanKind::Addon && row.feature.kind == FeatureKind::Config;
        if entitlement.merge.is_some() && !joins {
            let detail = "is only for config features of add-ons: it says how their value joins the base's";
            return Err(Problem::invalid(format!("{pointer}/merge"), detail).into());
        }
        let entitlement = Entitlement {
            access,
            price: entitlement.price.map(|price| price.into_price(&format!("{pointer}/price"))).transpose()?,
            overage_policy: entitlement.overage_policy,
            overdraft_limit: cap(limit, &format!("{pointer}/overdraft_limit"))?,
            merge: entitlement.merge,
        };
        if checked.insert(key, entitlement).is_some() {
            return Err(Problem::invalid(at_key, "names a feature that is in the list before").into());
        }
    }
    Ok(checked)
}
