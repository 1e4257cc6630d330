//! Makes commands of deeds, on the account alone: what a deed names is what that account has by then.

use std::sync::Arc;

use quotastack_core::catalogue::{Catalogue, OveragePolicy};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::{
    BlockId, EndUserId, IdempotencyKey, PaymentReference, ReservationId, SubscriptionId, TopupId, UsageId, VariantId,
    uuid_v7,
};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::command::{
    Adjust, Command, Commit, Extend, Properties, Refund, Request, Reserve, TopupOrder, Usage, Void, VoidBlock,
};
use quotastack_core::ledger::entry::Actor;
use quotastack_core::ledger::reservation::ReservationStatus;
use quotastack_core::pricing::TierWindow;
use quotastack_core::subscription::order::SubscriptionOrder;
use quotastack_core::time::Timestamp;
use quotastack_server::app::decide::Submission;
use quotastack_server::app::idempotency::RequestIdentity;
use uuid::Uuid;

use super::deeds::{Again, Deed, Own};
use super::setting::{credits, key, per_unit, start, tiered, units};
use crate::histories::History;
use crate::reference::stream::{FEATURES, Op, Wait, When};
use crate::reference::{BlockKind, DAY, Grant, Policy};
use crate::translated::{asked_for, grant_of, over_commit_of};

/// The longest wait for something to be due.
const WAIT_MAX: i64 = 40 * DAY;

pub(crate) struct Player {
    history: History,
    variants: Vec<VariantId>,
    actor: Actor,
    now: Timestamp,
    minted: u64,
}

impl Player {
    pub(crate) fn new(end_user_id: EndUserId, catalogue: Arc<Catalogue>, variants: &[VariantId], actor: Actor) -> Self {
        let history = History::new(end_user_id, catalogue);
        Self { history, variants: variants.to_vec(), actor, now: start(), minted: 0 }
    }

    /// Plays all deeds.
    pub(crate) fn play(mut self, deeds: &[(Wait, Deed)]) -> History {
        for (wait, deed) in deeds {
            self.now = self.instant(*wait);
            if let Some(submission) = self.submission(deed) {
                self.history.send(submission);
            }
        }
        self.history
    }

    fn account(&self) -> &Account {
        &self.history.alone.account
    }

    fn instant(&self, wait: Wait) -> Timestamp {
        let mut wallet = self.account().wallet.clone();
        read_at(&mut wallet, &self.history.catalogue, self.now);
        let latest = self.now.saturating_add_micros(WAIT_MAX);
        let due = wallet.next_due().filter(|due| *due <= latest).unwrap_or(self.now);
        match wait {
            Wait::For(micros) => self.now.saturating_add_micros(micros),
            Wait::UntilNextDue => due,
            Wait::JustBeforeNextDue => self.now.max(due.saturating_add_micros(-1)),
        }
    }

    /// Ten bytes that nobody else has: of this end user, and never twice.
    fn random(&mut self) -> [u8; 10] {
        self.minted += 1;
        let hash = blake3::hash(format!("{}/{}", self.history.end_user_id, self.minted).as_bytes());
        hash.as_bytes()[..10].try_into().unwrap()
    }

    fn uuid(&mut self) -> Uuid {
        let bucket = self.history.end_user_id.bucket();
        uuid_v7(self.now, self.random(), Some(bucket))
    }

    fn seed(&mut self) -> [u8; 16] {
        let mut seed = [0; 16];
        seed[..10].copy_from_slice(&self.random());
        seed
    }

    fn submission(&mut self, deed: &Deed) -> Option<Submission> {
        let (command, identity, seed) = match deed {
            Deed::Again { command, how } => {
                let sent = pick(&self.history.sent, *command)?.submission.clone();
                let (command, seed) = match how {
                    Again::Rerun => (sent.request.command, sent.request.seed),
                    Again::Repeat => (self.renewed(sent.request.command), self.seed()),
                    Again::OtherBody => (self.command(&Deed::Advance)?, self.seed()),
                };
                let identity = sent.identity?;
                let request_hash = if matches!(how, Again::OtherBody) { seed } else { identity.request_hash };
                (command, Some(RequestIdentity { request_hash, ..identity }), seed)
            }
            _ => {
                let command = self.command(deed)?;
                let seed = self.seed();
                (command, Some(RequestIdentity::unique(seed)), seed)
            }
        };
        // Usage is its own identity.
        let identity = identity.filter(|_| command.usage().is_none());
        let request = Request { now: self.now, actor: self.actor, seed, command };
        Some(Submission { end_user_id: self.history.end_user_id.clone(), request, identity, notes: None })
    }

    /// The same thing asked for once more, with new ids for what would be made.
    fn renewed(&mut self, mut command: Command) -> Command {
        let uuid = self.uuid();
        match &mut command {
            Command::Usage(usage) | Command::Consume(usage) => usage.id = UsageId::from_uuid(uuid),
            Command::Reserve(reserve) => reserve.id = ReservationId::from_uuid(uuid),
            Command::Commit(commit) => commit.usage_id = UsageId::from_uuid(uuid),
            Command::TopUp(order) => order.id = TopupId::from_uuid(uuid),
            _ => {}
        }
        command
    }

    fn command(&mut self, deed: &Deed) -> Option<Command> {
        Some(match deed {
            Deed::Op(op) => self.command_of(op)?,
            Deed::Consume { feature, units } => {
                let usage = self.usage(*feature, *units);
                Command::Consume(usage)
            }
            Deed::Subscribe { variant, quantity, start } => {
                Command::Subscribe(start.subscribe(self.variants[*variant], *quantity, self.now))
            }
            Deed::Order { subscription, order } => Command::Subscription(SubscriptionOrder {
                id: self.subscription(*subscription)?,
                action: order.action(&self.variants, self.now),
            }),
            Deed::SetOverride { feature, own, lives } => {
                let terms = Override {
                    feature_key: key(FEATURES[*feature]),
                    enabled: None,
                    value: None,
                    price: None,
                    overage_policy: None,
                    overdraft_limit: None,
                    expires_at: lives.map(|micros| self.now.saturating_add_micros(micros)),
                };
                Command::SetOverride(match own {
                    Own::Off => Override { enabled: Some(false), ..terms },
                    Own::Free => Override { price: Some(per_unit(0)), ..terms },
                    Own::Tiered => Override { price: Some(tiered(TierWindow::CalendarMonth)), ..terms },
                    Own::Indebted(limit) => Override {
                        overage_policy: Some(OveragePolicy::Overdraft),
                        overdraft_limit: limit.map(credits),
                        ..terms
                    },
                })
            }
            Deed::RemoveOverride { feature } => Command::RemoveOverride(key(FEATURES[*feature])),
            Deed::Advance => Command::Advance,
            Deed::Again { .. } => unreachable!("made elsewhere"),
        })
    }

    fn usage(&mut self, feature: usize, count: i64) -> Usage {
        let uuid = self.uuid();
        Usage {
            id: UsageId::from_uuid(uuid),
            key: IdempotencyKey::new(&uuid.to_string()).unwrap(),
            feature_key: key(FEATURES[feature]),
            units: units(count),
            properties: Properties::new(),
            effective_at: None,
            on_insufficient: None,
            admitted_at: None,
            leased: None,
        }
    }

    fn command_of(&mut self, op: &Op) -> Option<Command> {
        Some(match op {
            Op::Grant { amount, kind, priority, starts_in, lives, paid, scope, settles_debt, cap } => {
                let now = self.now.as_micros();
                let effective_at = starts_in.map(|micros| now + micros);
                Command::Grant(grant_of(&Grant {
                    kind: *kind,
                    effective_at,
                    expires_at: lives.map(|micros| effective_at.unwrap_or(now) + micros),
                    paid: *paid,
                    settles_debt: *settles_debt,
                    accumulation_cap: *cap,
                    cap_group: cap.map(|cap| if cap % 2 == 0 { "even" } else { "odd" }.to_owned()),
                    ..plain_grant(*amount, *priority, *scope)
                }))
            }
            Op::Topup { amount, priority, lives, scope } => {
                let uuid = self.uuid();
                let expires_at = lives.map(|micros| self.now.as_micros() + micros);
                let grant = Grant { expires_at, paid: true, ..plain_grant(*amount, *priority, *scope) };
                Command::TopUp(TopupOrder {
                    id: TopupId::from_uuid(uuid),
                    payment_reference: PaymentReference::new(&uuid.to_string()).unwrap(),
                    package_id: None,
                    price_paid: Some(credits(1)),
                    currency: Some("USD".to_owned()),
                    grant: grant_of(&grant),
                    is_on_sale: true,
                    expires_after: None,
                })
            }
            Op::Use { key_of, feature, units, large, at, on_insufficient, admitted } => {
                let keys: Vec<_> =
                    self.history.alone.events.iter().filter(|event| event.reservation_id.is_none()).collect();
                let known = key_of.and_then(|number| pick(&keys, number)).map(|event| event.key.clone());
                let time = at.map(|when| self.time(when));
                let usage = self.usage(*feature, *units);
                Command::Usage(Usage {
                    key: known.unwrap_or_else(|| usage.key.clone()),
                    properties: properties(*large),
                    effective_at: time.filter(|_| !admitted),
                    on_insufficient: on_insufficient
                        .filter(|policy| !admitted || *policy == Policy::Cap)
                        .map(asked_for),
                    admitted_at: admitted.then_some(time.unwrap_or(self.now)),
                    ..usage
                })
            }
            Op::Void { event } => {
                let usage_id = pick(&self.history.alone.events, *event)?.id;
                Command::Void(Void { usage_id, reason: event.is_multiple_of(2).then(|| "a mistake".to_owned()) })
            }
            Op::Adjust { amount, block, feature, allow_negative } => Command::Adjust(Adjust {
                amount: credits(*amount),
                reason: "because".to_owned(),
                block_id: block.filter(|_| *amount < 0).and_then(|number| self.block(number)),
                feature_key: feature.map(|feature| key(FEATURES[feature])),
                allow_negative: *allow_negative,
                priority: 100,
                expires_at: None,
            }),
            Op::VoidBlock { block } => {
                Command::VoidBlock(VoidBlock { block_id: self.block(*block)?, reason: "because".to_owned() })
            }
            Op::Refund { topup, amount, claw_back_spent } => Command::Refund(Refund {
                topup_id: self.topup(*topup)?,
                amount: amount.map(credits),
                claw_back_spent: *claw_back_spent,
                reason: None,
            }),
            Op::Reserve { feature, units: count, large, ttl } => Command::Reserve(Reserve {
                id: ReservationId::from_uuid(self.uuid()),
                feature_key: key(FEATURES[*feature]),
                units: units(*count),
                properties: properties(*large),
                ttl_micros: *ttl,
                on_insufficient: None,
            }),
            Op::Commit { hold, units: count, is_final, over_commit, late_debit } => Command::Commit(Commit {
                reservation_id: self.hold(*hold)?,
                usage_id: UsageId::from_uuid(self.uuid()),
                units: units(*count),
                is_final: *is_final,
                over_commit: over_commit_of(*over_commit),
                debit_late: *late_debit,
            }),
            Op::Release { hold } => Command::Release(self.hold(*hold)?),
            Op::Extend { hold, ttl } => Command::Extend(Extend { reservation_id: self.hold(*hold)?, ttl_micros: *ttl }),
            Op::Repeat { command } => {
                let command = pick(&self.history.sent, *command)?.submission.request.command.clone();
                self.renewed(command)
            }
        })
    }

    /// Blocks in the order of granting.
    fn blocks(&self) -> Vec<&quotastack_core::ledger::block::Block> {
        let mut blocks: Vec<_> = self.account().wallet.lots.iter().collect();
        blocks.sort_by_key(|block| block.granted);
        blocks
    }

    fn block(&self, number: usize) -> Option<BlockId> {
        pick(&self.blocks(), number).map(|block| block.id)
    }

    /// Most often one that is live: of the others, the latest that is over.
    fn subscription(&self, number: usize) -> Option<SubscriptionId> {
        let over = self.account().ended.last();
        let live = self.account().wallet.subscriptions.iter();
        let all: Vec<_> = over.into_iter().chain(live).map(|own| own.id).collect();
        pick(&all, number).copied()
    }

    /// Most often one that is open: the others only refuse.
    fn hold(&self, number: usize) -> Option<ReservationId> {
        let all = &self.account().reservations;
        let open: Vec<_> = all.iter().filter(|one| one.status == ReservationStatus::Active).collect();
        if number % 4 == 3 || open.is_empty() {
            return pick(all, number / 4).map(|one| one.id);
        }
        pick(&open, number).map(|one| one.id)
    }

    /// Most often one of which something was spent or is held and not all is refunded.
    fn topup(&self, number: usize) -> Option<TopupId> {
        let all = &self.history.alone.topups;
        let is_spent = |topup: &&quotastack_core::ledger::topup::Topup| {
            let block = self.account().block(topup.block_id).expect("nothing is unloaded");
            (block.consumed() + block.lot.held).is_positive() && topup.refunded < topup.amount
        };
        let spent: Vec<_> = all.iter().filter(is_spent).collect();
        if number % 4 == 3 || spent.is_empty() {
            return pick(all, number / 4).map(|topup| topup.id);
        }
        pick(&spent, number).map(|topup| topup.id)
    }

    fn time(&self, when: When) -> Timestamp {
        let blocks = self.blocks();
        match when {
            When::Ago(micros) => self.now.saturating_add_micros(-micros),
            When::Ahead(micros) => self.now.saturating_add_micros(micros),
            When::StartOf(block) => pick(&blocks, block).map_or(self.now, |block| block.lot.effective_at),
            When::BeforeEndOf(block) => pick(&blocks, block)
                .and_then(|block| block.lot.expires_at)
                .map_or(self.now, |end| end.saturating_add_micros(-1)),
        }
    }
}

fn plain_grant(amount: i64, priority: u8, scope: u8) -> Grant {
    let named = FEATURES.iter().enumerate().filter(|(number, _)| scope & (1 << number) != 0);
    Grant {
        amount,
        kind: BlockKind::Topup,
        priority,
        effective_at: None,
        expires_at: None,
        paid: false,
        scope: named.map(|(_, key)| (*key).to_owned()).collect(),
        settles_debt: true,
        accumulation_cap: None,
        cap_group: None,
    }
}

fn properties(large: bool) -> Properties {
    if large { Properties::from([("model".to_owned(), "large".to_owned())]) } else { Properties::new() }
}

/// From the newest backwards, round and round.
fn pick<T>(things: &[T], number: usize) -> Option<&T> {
    (!things.is_empty()).then(|| &things[things.len() - 1 - number % things.len()])
}
