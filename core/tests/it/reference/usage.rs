//! Usage: work that was done.

use super::charge::Shortfall;
use super::command::{Answer, BlockId, Code, HoldId, Micros, Use};
use super::entry::EntryKind;
use super::model::{Event, Model};
use super::price::{Policy, Properties};
use super::{DAY, SECOND};

const LATE_WINDOW: Micros = 35 * DAY;
const AHEAD_MAX: Micros = 300 * SECOND;

/// An event that is about to be recorded at `effective_at`.
pub(super) struct Work<'a> {
    pub(super) feature: &'a str,
    pub(super) units: i64,
    pub(super) properties: &'a Properties,
    pub(super) effective_at: Micros,
    pub(super) policy: Policy,
    pub(super) is_admitted: bool,
}

impl Model {
    pub(super) fn record_usage(&mut self, asked: &Use) -> Result<Answer, Code> {
        if let Some(answer) = self.known(asked)? {
            return Ok(answer);
        }
        let own = self.feature(&asked.feature)?.policy;
        let may_overdraw = |policy| matches!(policy, Policy::Overdraft | Policy::Notify);
        if asked.units < 0 || asked.on_insufficient.is_some_and(|policy| may_overdraw(policy) && !may_overdraw(own)) {
            return Err("validation_failed");
        }
        let work = Work {
            feature: &asked.feature,
            units: asked.units,
            properties: &asked.properties,
            effective_at: self.time_of(asked)?,
            policy: asked.on_insufficient.unwrap_or(own),
            is_admitted: asked.admitted_at.is_some(),
        };
        let answer = self.record(&work, None)?;
        self.events.last_mut().unwrap().asked = Some(asked.clone());
        Ok(answer)
    }

    /// The first answer to the same key, if it asked for the same.
    fn known(&self, asked: &Use) -> Result<Option<Answer>, Code> {
        let payload = |of: &Use| (of.feature.clone(), of.units, of.properties.clone(), of.effective_at);
        for event in &self.events {
            match &event.asked {
                Some(first) if first.key == asked.key && payload(first) == payload(asked) => {
                    return Ok(Some(event.answer.again()));
                }
                Some(first) if first.key == asked.key => return Err("idempotency_conflict"),
                _ => {}
            }
        }
        Ok(None)
    }

    /// At most 35 days back; up to 5 minutes ahead is now. What a sidecar admitted is clamped into that.
    fn time_of(&self, asked: &Use) -> Result<Micros, Code> {
        let stamp = asked.effective_at.or(asked.admitted_at).unwrap_or(self.now);
        let is_inside = self.now - LATE_WINDOW <= stamp && stamp <= self.now + AHEAD_MAX;
        if !is_inside && asked.admitted_at.is_none() {
            return Err("validation_failed");
        }
        Ok(stamp.clamp(self.now - LATE_WINDOW, self.now))
    }

    /// Prices the work where it stands in its window, takes credit, makes debt.
    pub(super) fn record(&mut self, work: &Work<'_>, hold: Option<HoldId>) -> Result<Answer, Code> {
        let (rule, price) = self.features[work.feature].price_for(work.properties)?;
        let price = price.cost(self.place(work.feature, rule, work.effective_at), work.units)?;
        let charge = self.plan_charge(work.feature, price, work.effective_at);
        let debt = self.debt_for(Shortfall {
            feature: work.feature,
            policy: work.policy,
            amount: charge.short,
            own_uncovered: 0,
            is_admitted: work.is_admitted,
        })?;

        for (id, amount) in &charge.revived {
            self.blocks[*id].expired -= amount;
            self.blocks[*id].remaining += amount;
        }
        if !charge.revived.is_empty() {
            self.seal(EntryKind::Expire, work.effective_at);
        }
        self.consume(&charge.taken);
        self.seal(EntryKind::Usage, work.effective_at);
        if debt > 0 {
            self.raise_debt(Some(work.feature), debt)?;
            self.seal(EntryKind::Debt, work.effective_at);
        }
        let answer = self.remember(Event {
            id: self.events.len(),
            asked: None,
            feature: work.feature.to_owned(),
            rule,
            units: work.units,
            effective_at: work.effective_at,
            taken: charge.taken,
            debt,
            commit_of: None,
            answer: Answer { hold, ..Answer::default() },
            voided: None,
        });
        self.settle(self.now);
        Ok(answer)
    }

    pub(super) fn consume(&mut self, taken: &[(BlockId, i64)]) {
        for (id, amount) in taken {
            self.blocks[*id].remaining -= amount;
            self.blocks[*id].consumed += amount;
        }
    }

    /// Keeps the event and writes its figures into its answer.
    pub(super) fn remember(&mut self, mut event: Event) -> Answer {
        event.answer.event = Some(event.id);
        event.answer.rule = event.rule;
        event.answer.credit = event.taken.iter().map(|(_, amount)| amount).sum();
        event.answer.debt = event.debt;
        let answer = event.answer.clone();
        self.events.push(event);
        answer
    }
}
