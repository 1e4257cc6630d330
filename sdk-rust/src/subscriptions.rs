//! Subscriptions: how they begin, what is asked of them, how they end.

use crate::api::types::{self, CancelSubscriptionAt, CancelSubscriptionCredits, UncancelSubscriptionClear};
use crate::{Client, Error, Subscription};

/// What a subscription is to become.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The variant, at its newest version; without one the quantity changes now.
    pub plan_variant_id: Option<String>,
    /// Seats; as many as now if not given.
    pub quantity: Option<i32>,
    /// Now if not given.
    pub at: Option<types::ChangeSubscriptionAt>,
    /// What becomes of the credit of a change now; `prorate` if not given.
    pub credits: Option<types::ChangeSubscriptionCredits>,
}

impl Change {
    /// To another variant, now and prorated.
    pub fn to(plan_variant_id: impl Into<String>) -> Self {
        Self { plan_variant_id: Some(plan_variant_id.into()), ..Self::default() }
    }

    fn into_body(self, preview: bool) -> types::ChangeSubscription {
        types::ChangeSubscription {
            plan_variant_id: self.plan_variant_id,
            quantity: self.quantity,
            at: self.at,
            credits: self.credits,
            preview: Some(preview),
        }
    }
}

impl Client {
    /// Subscribes the end user to a variant from now on.
    ///
    /// # Errors
    /// Among others `not_found`, and `invalid_transition` where a base subscription is live already.
    pub async fn create_subscription(&self, end_user_id: &str, plan_variant_id: &str) -> Result<Subscription, Error> {
        let request = self
            .api()
            .create_subscription()
            .body_map(|body| body.end_user_id(end_user_id).plan_variant_id(plan_variant_id));
        Ok(request.send().await?.into_inner())
    }

    /// A subscription as it stands now.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn subscription(&self, subscription_id: &str) -> Result<Subscription, Error> {
        Ok(self.api().get_subscription().subscription_id(subscription_id).send().await?.into_inner())
    }

    /// Pays for the next period, or after an unpaid end for the one that has begun.
    ///
    /// # Errors
    /// Among others `renewal_not_due`, `already_renewed`, `invalid_transition`.
    pub async fn renew_subscription(&self, subscription_id: &str) -> Result<Subscription, Error> {
        let request = self.api().renew_subscription().subscription_id(subscription_id);
        Ok(request.body(types::RenewSubscription {}).send().await?.into_inner())
    }

    /// A payment that was missing arrived.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn mark_subscription_paid(&self, subscription_id: &str) -> Result<Subscription, Error> {
        let request = self.api().mark_subscription_paid().subscription_id(subscription_id);
        Ok(request.body(types::MarkSubscriptionPaid {}).send().await?.into_inner())
    }

    /// A payment failed.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn mark_subscription_overdue(&self, subscription_id: &str) -> Result<Subscription, Error> {
        let request = self.api().mark_subscription_overdue().subscription_id(subscription_id);
        Ok(request.body(types::MarkSubscriptionOverdue {}).send().await?.into_inner())
    }

    /// Ends a trial and opens the first period, now.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn convert_subscription(&self, subscription_id: &str) -> Result<Subscription, Error> {
        let request = self.api().convert_subscription().subscription_id(subscription_id);
        Ok(request.body(types::ConvertSubscription { at: None }).send().await?.into_inner())
    }

    /// Changes variant or quantity.
    ///
    /// # Errors
    /// Among others `invalid_transition`, `too_many_blocks`.
    pub async fn change_subscription(&self, subscription_id: &str, change: Change) -> Result<Subscription, Error> {
        let request = self.api().change_subscription().subscription_id(subscription_id);
        Ok(request.body(change.into_body(false)).send().await?.into_inner())
    }

    /// What a change would do: the subscription as it would be, and in its `preview` what it would take. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::change_subscription`].
    pub async fn preview_change(&self, subscription_id: &str, change: Change) -> Result<Subscription, Error> {
        let request = self.api().change_subscription().subscription_id(subscription_id);
        Ok(request.body(change.into_body(true)).send().await?.into_inner())
    }

    /// Stops its clock now; until `resume_at` (RFC 3339), or until it is resumed.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn pause_subscription(
        &self,
        subscription_id: &str,
        resume_at: Option<&str>,
    ) -> Result<Subscription, Error> {
        let body = types::PauseSubscription { at: None, resume_at: resume_at.map(str::to_owned) };
        let request = self.api().pause_subscription().subscription_id(subscription_id);
        Ok(request.body(body).send().await?.into_inner())
    }

    /// Lets its clock go on.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn resume_subscription(&self, subscription_id: &str) -> Result<Subscription, Error> {
        let request = self.api().resume_subscription().subscription_id(subscription_id);
        Ok(request.body(types::ResumeSubscription {}).send().await?.into_inner())
    }

    /// Ends it; its credit lives to its expiry, or (`void`) ends with it.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn cancel_subscription(
        &self,
        subscription_id: &str,
        at: CancelSubscriptionAt,
        credits: CancelSubscriptionCredits,
    ) -> Result<Subscription, Error> {
        let request = self.api().cancel_subscription().subscription_id(subscription_id);
        let body = types::CancelSubscription { at, credits: Some(credits) };
        Ok(request.body(body).send().await?.into_inner())
    }

    /// Takes back what was asked for the end of the period.
    ///
    /// # Errors
    /// Among others `invalid_transition`.
    pub async fn uncancel_subscription(
        &self,
        subscription_id: &str,
        clear: UncancelSubscriptionClear,
    ) -> Result<Subscription, Error> {
        let request = self.api().uncancel_subscription().subscription_id(subscription_id);
        let body = types::UncancelSubscription { clear: Some(clear) };
        Ok(request.body(body).send().await?.into_inner())
    }
}
