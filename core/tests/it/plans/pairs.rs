//! Every state and every command, asked of the ledger: what the table allows happens, what it does not is refused
//! with what helps and leaves nothing.

use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::subscription::machine::{Happening, next};
use quotastack_core::subscription::order::{Action, ChangeCredits, Uncancel, When};

use super::*;

/// Each command, and what it is in the table for a subscription in a trial and for one that is not.
fn commands() -> Vec<(Action, Happening, Happening)> {
    let change_by = |at, credits| Action::Change { variant_id: variant_id(2), quantity: None, at, credits };
    let change = |at| change_by(at, ChangeCredits::Prorate);
    let seats =
        Action::Change { variant_id: variant_id(1), quantity: Some(2), at: When::Now, credits: ChangeCredits::Prorate };
    let migrate = |at| Action::Migrate { at, credits: ChangeCredits::Prorate };
    let pause = |at| Action::Pause { at, resume_at: None };
    let one = |action, happening| (action, happening, happening);
    vec![
        one(Action::Renew, Happening::Renew),
        one(Action::MarkPaid, Happening::MarkPaid),
        one(Action::MarkOverdue, Happening::MarkOverdue),
        one(Action::Convert(When::Now), Happening::Convert),
        one(Action::Convert(When::PeriodEnd), Happening::ConvertAtTrialEnd),
        (change(When::Now), Happening::ChangeInTrial, Happening::Change),
        (change_by(When::Now, ChangeCredits::Reset), Happening::ChangeInTrial, Happening::Change),
        (change_by(When::Now, ChangeCredits::KeepAndAdd), Happening::ChangeInTrial, Happening::Change),
        one(change(When::PeriodEnd), Happening::ChangeAtPeriodEnd),
        (Action::SetQuantity(2), Happening::ChangeInTrial, Happening::Change),
        (seats, Happening::ChangeInTrial, Happening::Change),
        (migrate(When::Now), Happening::ChangeInTrial, Happening::Change),
        one(migrate(When::PeriodEnd), Happening::ChangeAtPeriodEnd),
        one(pause(When::Now), Happening::Pause),
        one(pause(When::PeriodEnd), Happening::PauseAtPeriodEnd),
        one(Action::Pause { at: When::Now, resume_at: Some(day(300)) }, Happening::Pause),
        one(Action::Resume, Happening::Resume),
        one(cancel(When::Now), Happening::Cancel),
        one(Action::Cancel { at: When::Now, credits: EndCredits::Void }, Happening::Cancel),
        one(cancel(When::PeriodEnd), Happening::CancelAtPeriodEnd),
        one(Action::Uncancel(Uncancel::All), Happening::Uncancel),
        one(Action::Uncancel(Uncancel::CancelAt), Happening::Uncancel),
        one(Action::Uncancel(Uncancel::PauseAt), Happening::Uncancel),
        one(Action::Uncancel(Uncancel::PendingChange), Happening::Uncancel),
    ]
}

fn with_trial(number: u8) -> Variant {
    Variant { trial_days: 14, ..base(number, DAYS_30, 100) }
}

/// A subscription in this state, to a variant of which there is a newer version, and the instant.
fn in_state(state: SubscriptionStatus) -> (Story, SubscriptionId, Timestamp) {
    let (mut story, id, now) = in_state_at_first_version(state);
    story.catalogue.add_variant(variant_id(1), Variant { version: 2, ..with_trial(1) });
    (story, id, now)
}

fn in_state_at_first_version(state: SubscriptionStatus) -> (Story, SubscriptionId, Timestamp) {
    let mut story = life([with_trial(1), with_trial(2)]);
    if state == SubscriptionStatus::Scheduled {
        let later = Subscribe { start_at: Some(day(9)), ..Subscribe::now(variant_id(1), 1) };
        let id = story.try_subscribe(day(0), later).unwrap().id;
        story.touch(day(1));
        return (story, id, day(1));
    }
    let id = story.subscribe(day(0), 1);
    if state == SubscriptionStatus::Trialing {
        story.touch(day(1));
        return (story, id, day(1));
    }
    story.ask(day(1), id, Action::Convert(When::Now)).unwrap();
    let now = match state {
        SubscriptionStatus::PastDue => day(32),
        SubscriptionStatus::Expired => day(40),
        // Where a renewal is due.
        _ => day(29),
    };
    match state {
        SubscriptionStatus::Paused => {
            story.ask(now, id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
        }
        SubscriptionStatus::Canceled => {
            story.ask(now, id, cancel(When::Now)).unwrap();
        }
        _ => story.touch(now),
    }
    (story, id, now)
}

#[test]
fn every_command_in_every_state_does_what_the_table_says() {
    let failed_payment = {
        let (mut story, id, now) = in_state(SubscriptionStatus::Active);
        story.ask(now, id, Action::MarkOverdue).unwrap();
        (SubscriptionStatus::PastDue, (story, id, now))
    };
    let states = SubscriptionStatus::ALL.map(|state| (state, in_state(state)));
    for (state, (story, id, now)) in states.into_iter().chain([failed_payment]) {
        assert_eq!(story.account.subscription(id).unwrap().status, state);
        for (action, in_trial, else_) in commands() {
            let happening = if state == SubscriptionStatus::Trialing { in_trial } else { else_ };
            let mut story = story.clone();
            let before = (story.account.clone(), story.effects.clone());
            let answer = story.ask(now, id, action);
            // Another variant is paid for anew: only that is a change of what is past due.
            let is_paid_anew = match action {
                Action::Change { variant_id: to, .. } => to != variant_id(1),
                Action::SetQuantity(_) | Action::Migrate { .. } => false,
                _ => true,
            };
            let expected = next(state, happening).filter(|_| state != SubscriptionStatus::PastDue || is_paid_anew);
            match (expected, answer) {
                (Some(to), Ok(after)) => assert_eq!(after.status, to, "{action:?} in {state:?}"),
                (None, Err(refusal)) => {
                    assert!(
                        matches!(&refusal, Refusal::InvalidTransition { from, .. } if *from == state),
                        "{action:?} in {state:?}: {refusal:?}"
                    );
                    assert_eq!((story.account, story.effects), before, "{action:?} in {state:?}");
                }
                (expected, answer) => panic!("{action:?} in {state:?}: {expected:?}, {answer:?}"),
            }
        }
    }
}

#[test]
fn a_refusal_names_the_operation_and_the_state_and_what_helps() {
    use SubscriptionStatus as S;
    for (state, action, told) in [
        (S::Paused, Action::SetQuantity(2), "is paused: change is not possible; resume it first"),
        (S::Paused, Action::Uncancel(Uncancel::All), "is paused: uncancel is not possible; resume it first"),
        (S::Active, Action::MarkPaid, "is active: mark_paid is not possible; no payment of it is missing"),
        (S::Active, Action::Convert(When::Now), "is active: convert is not possible; only a trial is converted"),
        (S::Active, Action::Resume, "is active: resume is not possible; only what is paused is resumed"),
        (
            S::PastDue,
            Action::MarkOverdue,
            "is past_due: mark_overdue is not possible; that a payment is missing is known",
        ),
        (
            S::PastDue,
            Action::SetQuantity(2),
            "is past_due: change is not possible; pay for it first (renew or mark_paid)",
        ),
        (S::Expired, Action::Renew, "is expired: renew is not possible; it is over, create another one"),
    ] {
        let (mut story, id, now) = in_state(state);
        let refusal = story.ask(now, id, action).unwrap_err();
        assert_eq!(refusal.code().as_str(), "invalid_transition");
        assert!(refusal.to_string().ends_with(told), "{refusal}");
    }
}

#[test]
fn whatever_is_refused_says_what_helps() {
    for state in SubscriptionStatus::ALL {
        for (action, in_trial, else_) in commands() {
            let happening = if state == SubscriptionStatus::Trialing { in_trial } else { else_ };
            let (mut story, id, now) = in_state(state);
            if next(state, happening).is_none() {
                let told = story.ask(now, id, action).unwrap_err().to_string();
                assert!(told.contains(" is not possible; "), "{told}");
                assert!(!told.contains("this is not possible"), "{told}");
            }
        }
    }
}

#[test]
fn what_nobody_knows_cannot_be_changed() {
    let mut story = life([base(1, DAYS_30, 100)]);
    let nobody = SubscriptionId::from_uuid(uuid_v7(at(0), [9; 10], None));
    assert_eq!(story.ask(day(0), nobody, Action::Renew), Err(Refusal::SubscriptionUnknown(nobody)));
}

#[test]
fn what_goes_on_by_itself_or_will_be_canceled_is_not_renewed() {
    let mut story = life([free(base(1, DAYS_30, 100)), base(2, DAYS_30, 100)]);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.ask(day(29), id, Action::Renew), Err(Refusal::NotRenewable(id)));
    story.ask(day(29), id, cancel(When::Now)).unwrap();
    let id = story.subscribe(day(29), 2);
    story.ask(day(30), id, cancel(When::PeriodEnd)).unwrap();
    assert_eq!(story.ask(day(58), id, Action::Renew), Err(Refusal::NotRenewable(id)));
}

#[test]
fn what_a_change_would_take_out_of_range_is_refused_and_leaves_nothing() {
    let huge = quotastack_core::credits::AMOUNT_MAX;
    let mut story = life([base(1, DAYS_30, 100), base(2, DAYS_30, huge)]);
    let id = story.subscribe(day(0), 1);
    let before = (story.account.clone(), story.effects.clone());
    let credits = ChangeCredits::KeepAndAdd;
    let change = Action::Change { variant_id: variant_id(2), quantity: None, at: When::Now, credits };
    assert!(matches!(story.ask(day(0), id, change), Err(Refusal::AmountOutOfRange(_))));
    assert_eq!((story.account, story.effects), before);
}
