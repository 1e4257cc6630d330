//! Reservations: reserve, commit, release, extend. (Their end by time is in `time`.)

use super::charge::{Charge, Shortfall};
use super::command::{Answer, BlockId, Code, Command, Commit, HoldId, Micros, OverCommit};
use super::entry::EntryKind;
use super::model::{Event, Hold, HoldState, Model};
use super::price::Properties;
use super::usage::Work;
use super::{DAY, SECOND};

/// What a commit takes.
struct Cost {
    from_hold: i64,
    drawn: Charge,
    debt: i64,
}

impl Model {
    pub(super) fn reserve(
        &mut self,
        feature: &str,
        units: i64,
        properties: &Properties,
        ttl: Micros,
    ) -> Result<Answer, Code> {
        let config = self.feature(feature)?;
        let policy = config.policy;
        if units < 0 || !(SECOND..=DAY).contains(&ttl) {
            return Err("validation_failed");
        }
        let (rule, price) = config.price_for(properties)?;
        let place = self.place(feature, rule, self.now);
        let charge = self.plan_charge(feature, price.cost(place, units)?, self.now);
        let uncovered =
            self.debt_for(Shortfall { feature, policy, amount: charge.short, own_uncovered: 0, is_admitted: false })?;
        for (id, amount) in &charge.taken {
            self.blocks[*id].held += amount;
        }
        let id = self.holds.len();
        let held = charge.taken.iter().map(|(_, amount)| amount).sum();
        self.holds.push(Hold {
            id,
            feature: feature.to_owned(),
            properties: properties.clone(),
            rule,
            reserved_at: self.now,
            expires_at: self.now + ttl,
            estimate: units,
            place,
            held: charge.taken,
            uncovered,
            state: HoldState::Active,
            committed_units: 0,
            committed_cost: 0,
            commits: Vec::new(),
        });
        self.seal(EntryKind::Hold, self.now);
        Ok(Answer { hold: Some(id), held, uncovered, rule, ..Answer::default() })
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Answer, Code> {
        let asked = Command::Commit(commit.clone());
        let hold = self.holds.get(commit.hold).ok_or("not_found")?;
        for (first, answer) in &hold.commits {
            match first {
                Command::Commit(first) if first.key != commit.key => {}
                first if *first == asked => return Ok(answer.again()),
                _ => return Err("idempotency_conflict"),
            }
        }
        if commit.units < 0 {
            return Err("validation_failed");
        }
        let answer = match hold.state {
            HoldState::Expired if commit.late_debit => self.debit_late(commit)?,
            _ => {
                hold.check_active()?;
                self.commit_active(commit)?
            }
        };
        if commit.key.is_some() {
            self.holds[commit.hold].commits.push((asked, answer.clone()));
        }
        Ok(answer)
    }

    /// Ordinary usage of the present, linked to the hold.
    fn debit_late(&mut self, commit: &Commit) -> Result<Answer, Code> {
        let hold = self.holds[commit.hold].clone();
        let work = Work {
            feature: &hold.feature,
            units: commit.units,
            properties: &hold.properties,
            effective_at: self.now,
            policy: self.features[&hold.feature].policy,
            is_admitted: false,
        };
        let answer = self.record(&work, Some(commit.hold))?;
        if commit.is_final {
            self.holds[commit.hold].state = HoldState::Committed;
        }
        Ok(answer)
    }

    fn commit_active(&mut self, commit: &Commit) -> Result<Answer, Code> {
        let hold = self.holds[commit.hold].clone();
        let Cost { from_hold, drawn, debt } = self.cost_of(commit, &hold)?;
        let above = debt + drawn.taken.iter().map(|(_, amount)| amount).sum::<i64>();

        let mut taken: Vec<(BlockId, i64)> = Vec::new();
        let mut rest = from_hold;
        for (id, amount) in &mut self.holds[commit.hold].held {
            let part = rest.min(*amount);
            *amount -= part;
            rest -= part;
            self.blocks[*id].held -= part;
            taken.push((*id, part));
        }
        taken.extend(drawn.taken);
        taken.retain(|(_, amount)| *amount > 0);
        self.consume(&taken);
        self.seal(EntryKind::Commit, hold.reserved_at);
        if debt > 0 {
            self.raise_debt(Some(&hold.feature), debt)?;
            self.seal(EntryKind::Debt, hold.reserved_at);
        }
        let answer = self.remember(Event {
            id: self.events.len(),
            asked: None,
            feature: hold.feature,
            rule: hold.rule,
            units: commit.units,
            effective_at: hold.reserved_at,
            taken,
            debt,
            commit_of: Some(commit.hold),
            answer: Answer { hold: Some(commit.hold), ..Answer::default() },
            voided: None,
        });

        let hold = &mut self.holds[commit.hold];
        hold.committed_units += commit.units;
        hold.committed_cost += answer.cost();
        hold.uncovered -= hold.uncovered.min(above);
        if commit.is_final {
            let returned = self.give_back(commit.hold, HoldState::Committed);
            if returned.iter().any(|(_, amount)| *amount > 0) {
                self.seal(EntryKind::Release, self.now);
            }
            self.meet_fates(&returned, self.now);
        }
        self.settle(self.now);
        Ok(answer)
    }

    /// All units so far are one event, priced from the place that the hold took, less what was committed.
    fn cost_of(&self, commit: &Commit, hold: &Hold) -> Result<Cost, Code> {
        let feature = &self.features[&hold.feature];
        let so_far = feature.price_of(hold.rule).cost(hold.place, hold.committed_units + commit.units)?;
        let cost = (so_far - hold.committed_cost).max(0);
        let held: i64 = hold.held.iter().map(|(_, amount)| amount).sum();
        let from_hold = cost.min(held);
        let above = cost - from_hold;
        match commit.over_commit {
            OverCommit::Reject if above > hold.uncovered => Err("over_commit"),
            OverCommit::Cap => {
                let drawn = self.plan_charge(&hold.feature, above.min(hold.uncovered), self.now);
                let debt = drawn.short;
                Ok(Cost { from_hold, drawn, debt })
            }
            OverCommit::Draw | OverCommit::Reject => {
                let drawn = self.plan_charge(&hold.feature, above, self.now);
                let debt = self.debt_for(Shortfall {
                    feature: &hold.feature,
                    policy: feature.policy,
                    amount: drawn.short,
                    own_uncovered: hold.uncovered,
                    is_admitted: false,
                })?;
                Ok(Cost { from_hold, drawn, debt })
            }
        }
    }

    pub(super) fn release(&mut self, id: HoldId) -> Result<Answer, Code> {
        self.holds.get(id).ok_or("not_found")?.check_active()?;
        let returned = self.give_back(id, HoldState::Released);
        self.seal(EntryKind::Release, self.now);
        self.meet_fates(&returned, self.now);
        self.settle(self.now);
        Ok(Answer { hold: Some(id), ..Answer::default() })
    }

    /// To `ttl` from now, never earlier than it was, at most 24 h after the reserve.
    pub(super) fn extend(&mut self, id: HoldId, ttl: Micros) -> Result<Answer, Code> {
        let now = self.now;
        let hold = self.holds.get_mut(id).ok_or("not_found")?;
        if !(SECOND..=DAY).contains(&ttl) {
            return Err("validation_failed");
        }
        hold.check_active()?;
        hold.expires_at = (now + ttl).min(hold.reserved_at + DAY).max(hold.expires_at);
        self.seal(EntryKind::Extend, now);
        Ok(Answer { hold: Some(id), ..Answer::default() })
    }

    /// Closes the hold; what each block got back.
    pub(super) fn give_back(&mut self, id: HoldId, state: HoldState) -> Vec<(BlockId, i64)> {
        let hold = &mut self.holds[id];
        hold.state = state;
        hold.uncovered = 0;
        let returned = std::mem::take(&mut hold.held);
        for (block, amount) in &returned {
            self.blocks[*block].held -= amount;
        }
        returned
    }
}

impl Hold {
    fn check_active(&self) -> Result<(), Code> {
        match self.state {
            HoldState::Active => Ok(()),
            HoldState::Committed => Err("reservation_committed"),
            HoldState::Released => Err("reservation_released"),
            HoldState::Expired => Err("reservation_expired"),
        }
    }
}
