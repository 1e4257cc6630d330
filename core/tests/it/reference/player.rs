//! Plays a stream's steps on the model, and says what each of them meant.
//!
//! Another ledger that is to be compared takes `Played::command` at `Played::now` after each step. It may write what was
//! due only with its next accepted command: the model's entries are compared with those of an account that was advanced.

use std::collections::BTreeSet;

use super::command::{Answer, BlockKind, Code, Command, Commit, Grant, HoldId, Micros, Use};
use super::model::{Block, HoldState, Model};
use super::price::{Policy, Properties};
use super::stream::{FEATURES, Op, Step, Stream, Wait, When, large_model};
use super::{DAY, SECOND};

/// 2026-01-20, so that waits of a few days come into another month.
const START: Micros = 1_768_867_200 * SECOND;

const WAIT_MAX: Micros = 40 * DAY;

#[derive(Debug, Clone)]
pub(crate) struct Player {
    pub(crate) model: Model,
    /// Every command so far, accepted or not.
    sent: Vec<Command>,
}

/// One step. Without a command only time has passed.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) now: Micros,
    pub(crate) command: Option<Command>,
    pub(crate) result: Result<Answer, Code>,
}

impl Player {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self { model: Model::new(stream.features.clone(), START), sent: Vec::new() }
    }

    /// Time passes, then the operation.
    pub(crate) fn play(&mut self, step: &Step) -> Played {
        let now = self.instant(step.wait);
        self.model.advance(now);
        let Some(command) = self.command(&step.op) else {
            return Played { now, command: None, result: Ok(Answer::default()) };
        };
        let result = self.model.apply(now, &command);
        self.sent.push(command.clone());
        Played { now, command: Some(command), result }
    }

    fn instant(&self, wait: Wait) -> Micros {
        let now = self.model.now;
        let due = self.model.next_due().filter(|due| *due <= now + WAIT_MAX).unwrap_or(now);
        match wait {
            Wait::For(time) => now + time,
            Wait::UntilNextDue => due,
            Wait::JustBeforeNextDue => now.max(due - 1),
        }
    }

    fn command(&self, op: &Op) -> Option<Command> {
        let model = &self.model;
        // No command is sent twice under one name unless the stream says so.
        let fresh = |what: &str| format!("{what}-{}", self.sent.len());
        Some(match op {
            Op::Grant { amount, kind, priority, starts_in, lives, paid, scope, settles_debt, cap } => {
                let effective_at = starts_in.map(|time| model.now + time);
                Command::Grant(Grant {
                    amount: *amount,
                    kind: *kind,
                    priority: *priority,
                    effective_at,
                    expires_at: lives.map(|time| effective_at.unwrap_or(model.now) + time),
                    paid: *paid,
                    scope: features_of(*scope),
                    settles_debt: *settles_debt,
                    accumulation_cap: *cap,
                    cap_group: cap.map(|cap| if cap % 2 == 0 { "even" } else { "odd" }.to_owned()),
                })
            }
            Op::Topup { amount, priority, lives, scope } => Command::Topup {
                payment_reference: fresh("payment"),
                grant: Grant {
                    amount: *amount,
                    kind: BlockKind::Topup,
                    priority: *priority,
                    effective_at: None,
                    expires_at: lives.map(|time| model.now + time),
                    paid: true,
                    scope: features_of(*scope),
                    settles_debt: true,
                    accumulation_cap: None,
                    cap_group: None,
                },
            },
            Op::Use { key_of, feature, units, large, at, on_insufficient, admitted } => {
                let keys: Vec<&String> =
                    model.events.iter().filter_map(|event| Some(&event.asked.as_ref()?.key)).collect();
                let known = key_of.and_then(|number| pick(&keys, number)).map(|key| key.to_string());
                let time = at.map(|when| self.time(when));
                Command::Use(Use {
                    key: known.unwrap_or_else(|| fresh("use")),
                    feature: FEATURES[*feature].to_owned(),
                    units: *units,
                    properties: properties(*large),
                    effective_at: if *admitted { None } else { time },
                    on_insufficient: on_insufficient.filter(|policy| !admitted || *policy == Policy::Cap),
                    admitted_at: admitted.then_some(time.unwrap_or(model.now)),
                })
            }
            Op::Void { event } => Command::Void { event: modulo(*event, model.events.len())? },
            Op::Adjust { amount, block, feature, allow_negative } => Command::Adjust {
                amount: *amount,
                block: block.filter(|_| *amount < 0).and_then(|block| modulo(block, model.blocks.len())),
                feature: feature.map(|feature| FEATURES[feature].to_owned()),
                allow_negative: *allow_negative,
            },
            Op::VoidBlock { block } => Command::VoidBlock { block: modulo(*block, model.blocks.len())? },
            Op::Refund { topup, amount, claw_back_spent } => Command::Refund {
                payment_reference: self.payment_reference(*topup)?,
                amount: *amount,
                claw_back_spent: *claw_back_spent,
            },
            Op::Reserve { feature, units, large, ttl } => Command::Reserve {
                feature: FEATURES[*feature].to_owned(),
                units: *units,
                properties: properties(*large),
                ttl: *ttl,
            },
            Op::Commit { hold, units, is_final, over_commit, late_debit } => Command::Commit(Commit {
                key: Some(fresh("commit")),
                hold: self.hold(*hold)?,
                units: *units,
                is_final: *is_final,
                over_commit: *over_commit,
                late_debit: *late_debit,
            }),
            Op::Release { hold } => Command::Release { hold: self.hold(*hold)? },
            Op::Extend { hold, ttl } => Command::Extend { hold: self.hold(*hold)?, ttl: *ttl },
            Op::Repeat { command } => pick(&self.sent, *command)?.clone(),
        })
    }

    /// Most often one that is open: the others only refuse.
    fn hold(&self, number: usize) -> Option<HoldId> {
        let is_open = |id: &HoldId| self.model.holds[*id].state == HoldState::Active;
        let open: Vec<HoldId> = (0..self.model.holds.len()).filter(is_open).collect();
        if number % 4 == 3 || open.is_empty() {
            return modulo(number / 4, self.model.holds.len());
        }
        pick(&open, number).copied()
    }

    /// Most often one of which something was spent or is held and not all is refunded.
    fn payment_reference(&self, number: usize) -> Option<String> {
        let topups = || self.model.blocks.iter().filter(|block| block.payment_reference.is_some());
        let is_spent = |block: &&Block| block.consumed + block.held > 0 && block.refunded < block.original;
        let spent: Vec<&Block> = topups().filter(is_spent).collect();
        let all: Vec<&Block> = topups().collect();
        let is_any = number % 4 == 3 || spent.is_empty();
        let topup = if is_any { pick(&all, number / 4) } else { pick(&spent, number) };
        topup?.payment_reference.clone()
    }

    fn time(&self, when: When) -> Micros {
        let (now, blocks) = (self.model.now, &self.model.blocks);
        match when {
            When::Ago(time) => now - time,
            When::Ahead(time) => now + time,
            When::StartOf(block) => pick(blocks, block).map_or(now, |block| block.effective_at),
            When::BeforeEndOf(block) => {
                pick(blocks, block).and_then(|block| block.expires_at).map_or(now, |end| end - 1)
            }
        }
    }
}

fn pick<T>(things: &[T], number: usize) -> Option<&T> {
    things.get(modulo(number, things.len())?)
}

/// From the newest backwards: what happened last is what most often matters.
fn modulo(number: usize, count: usize) -> Option<usize> {
    (count > 0).then(|| count - 1 - number % count)
}

fn features_of(scope: u8) -> BTreeSet<String> {
    let named = FEATURES.iter().enumerate().filter(|(number, _)| scope & (1 << number) != 0);
    named.map(|(_, key)| (*key).to_owned()).collect()
}

fn properties(large: bool) -> Properties {
    if large { large_model() } else { Properties::new() }
}
