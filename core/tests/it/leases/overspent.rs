//! Holders that keep their rules (each spends no more than it was granted and has not returned, in time, and reports
//! within the grace) never make the account owe anything, whatever else happens beside them.

use proptest::prelude::*;

use super::*;
use crate::support::twice_as_many;

#[derive(Debug, Clone)]
enum Op {
    /// Until a lease cannot be spent any longer than so many seconds.
    NearEnd {
        which: u8,
        seconds: i64,
    },
    Wait {
        seconds: i64,
    },
    Open {
        holder: u8,
        need: i64,
        want: i64,
    },
    /// Of one of the leases that can be spent; what is spent waits to be reported.
    Spend {
        which: u8,
        cost: i64,
    },
    Report {
        which: u8,
    },
    Return {
        which: u8,
        amount: i64,
    },
    /// By somebody without a lease; `None` = all that is free.
    Use {
        units: Option<i64>,
    },
    Grant {
        amount: i64,
        lives: i64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1i64..40).prop_map(|seconds| Op::Wait { seconds }),
        3 => (1u8..4, 0i64..40, 0i64..200).prop_map(|(holder, need, want)| Op::Open { holder, need, want }),
        6 => (any::<u8>(), 0i64..30).prop_map(|(which, cost)| Op::Spend { which, cost }),
        4 => any::<u8>().prop_map(|which| Op::Report { which }),
        2 => (any::<u8>(), 1i64..60).prop_map(|(which, amount)| Op::Return { which, amount }),
        3 => prop::option::of(1i64..60).prop_map(|units| Op::Use { units }),
        2 => (any::<u8>(), 1i64..4).prop_map(|(which, seconds)| Op::NearEnd { which, seconds }),
        2 => (1i64..300, 1i64..200).prop_map(|(amount, lives)| Op::Grant { amount, lives }),
    ]
}

struct Lease {
    name: String,
    holder: u8,
    granted: i64,
    spent: i64,
    returned: i64,
    until: Timestamp,
}

struct World {
    story: Story,
    now: i64,
    leases: Vec<Lease>,
    waiting: Vec<Usage>,
    admitted: i64,
    number: u64,
}

impl World {
    fn new() -> Self {
        Self { story: story(100), now: 0, leases: Vec::new(), waiting: Vec::new(), admitted: 0, number: 0 }
    }

    fn name(&mut self) -> String {
        self.number += 1;
        format!("{}", self.number)
    }

    fn report(&mut self, place: usize) {
        let event = self.waiting.remove(place);
        let Outcome::Used { record, .. } = self.story.apply(at(self.now), event).unwrap() else { panic!("recorded") };
        assert!(record.owed.is_zero());
        assert_eq!(record.cost, record.charged);
    }

    /// Nothing that was spent is reported later than the grace allows.
    fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now += 1;
            while let Some(place) = self.waiting.iter().position(|event| {
                event.admitted_at.unwrap().saturating_add_micros(9 * MICROS_PER_SECOND) <= at(self.now)
            }) {
                self.report(place);
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Wait { seconds } => self.wait(seconds),
            Op::Open { holder, need, want } => {
                let name = self.name();
                if let Ok(lease) = self.story.open(self.now, open(&name, holder, need, want)) {
                    let (granted, until) = (lease.amount.get(), lease.lease.unwrap().until);
                    self.leases.push(Lease { name, holder, granted, spent: 0, returned: 0, until });
                }
            }
            Op::Spend { which, cost } => {
                let key = self.name();
                let now = at(self.now);
                let mut usable: Vec<_> = self.leases.iter_mut().filter(|lease| now < lease.until).collect();
                let count = usable.len().max(1);
                if let Some(lease) = usable.get_mut(usize::from(which) % count)
                    && lease.spent + lease.returned + cost <= lease.granted
                {
                    lease.spent += cost;
                    self.admitted += cost;
                    let event = spent(&key, &lease.name, cost, now);
                    self.waiting.push(event);
                }
            }
            Op::Report { which } => {
                if !self.waiting.is_empty() {
                    self.report(usize::from(which) % self.waiting.len());
                }
            }
            Op::Return { which, amount } => {
                let count = self.leases.len().max(1);
                if let Some(lease) = self.leases.get_mut(usize::from(which) % count) {
                    lease.returned += amount.min(lease.granted - lease.spent - lease.returned);
                    let order = give_back(&lease.name, lease.holder, lease.returned);
                    self.story.give_back(self.now, order).unwrap();
                }
            }
            Op::NearEnd { which, seconds } => {
                let count = self.leases.len().max(1);
                if let Some(lease) = self.leases.get(usize::from(which) % count) {
                    let left = lease.until.micros_since(at(self.now)) / MICROS_PER_SECOND;
                    self.wait(left - seconds);
                }
            }
            Op::Use { units } => {
                let key = self.name();
                let available = self.story.account.totals.available.get();
                let units = units.unwrap_or_else(|| available.max(1));
                if self.story.apply(at(self.now), usage(&key, "f", units)).is_ok() {
                    self.admitted += units;
                }
            }
            Op::Grant { amount, lives } => {
                let order =
                    quotastack_core::ledger::command::Grant { expires_at: Some(at(self.now + lives)), ..grant(amount) };
                self.story.apply(at(self.now), order).unwrap();
            }
        }
        assert_eq!(self.story.account.totals.debt, credits(0));
        assert!(self.admitted <= self.story.account.lifetime_granted.get());
    }
}

proptest! {
    #![proptest_config(twice_as_many())]
    #[test]
    fn holders_that_keep_their_rules_spend_nothing_twice(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.apply(op));
        // All is reported, all is over: what was admitted is what was consumed.
        world.wait(200);
        world.story.touch(at(world.now));
        prop_assert_eq!(world.story.account.lifetime_consumed, credits(world.admitted));
        prop_assert_eq!(world.story.account.totals.reserved, credits(0));
    }
}
