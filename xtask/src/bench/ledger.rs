//! The ledger's part of a round: batches of usage and single events, each beside what the bare tables take.

use std::time::Duration;

use serde::Serialize;

use super::bare::{Bare, Pgbench};
use crate::load::{self, Checks, Rate};
use crate::stack::{Binaries, Stack};

const CONNECTIONS: [usize; 3] = [1, 8, 32];

/// How much is recorded.
#[derive(Clone, Copy)]
pub(crate) struct Amounts {
    /// Accounts over which usage is spread.
    pub(crate) end_users: u64,
    /// Batches of 1,000 events a measurement.
    pub(crate) batches: u64,
    /// How long single events are recorded.
    pub(crate) duration: Duration,
}

/// Batches of 1,000 events, one way.
#[derive(Serialize)]
pub(crate) struct BatchRow {
    pub(crate) way: &'static str,
    /// Over how many accounts they are spread.
    pub(crate) end_users: u64,
    pub(crate) server: Rate,
    /// As many rows in plain SQL, measured right after.
    pub(crate) bare: Rate,
}

/// Single events at one number of connections.
#[derive(Serialize)]
pub(crate) struct SingleRow {
    pub(crate) connections: usize,
    pub(crate) server: Checks,
    /// `None` where there is no pgbench.
    pub(crate) pgbench: Option<Pgbench>,
}

/// What is measured of the ledger, and in what.
pub(crate) struct Ledger<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) stack: &'a Stack,
    pub(crate) bare: Bare,
    pub(crate) amounts: Amounts,
}

impl<'a> Ledger<'a> {
    /// Gives every account credit, on both sides.
    pub(crate) fn prepare(binaries: &'a Binaries, stack: &'a Stack, amounts: Amounts) -> anyhow::Result<Self> {
        load::seed(binaries, &stack.server, amounts.end_users)?;
        let bare = Bare::create(binaries, stack, amounts.end_users)?;
        Ok(Self { binaries, stack, bare, amounts })
    }

    /// Over all accounts and on one hot account, over REST and over QUIC.
    pub(crate) fn batches(&self) -> anyhow::Result<Vec<BatchRow>> {
        let Self { binaries, stack, amounts, .. } = self;
        let mut rows = Vec::new();
        for end_users in [amounts.end_users, 1] {
            for (way, record) in [("REST", load::batches as fn(&_, &_, _, _) -> _), ("QUIC", load::link)] {
                let server = record(binaries, stack, end_users, amounts.batches)?;
                let bare = self.bare.insert(binaries, end_users, amounts.batches)?;
                rows.push(BatchRow { way, end_users, server, bare });
            }
        }
        Ok(rows)
    }

    /// One event a request, one event a transaction.
    pub(crate) fn single(&self) -> anyhow::Result<Vec<SingleRow>> {
        let Self { binaries, stack, amounts, .. } = self;
        let row = |connections| {
            let server = load::usage(binaries, stack, amounts.end_users, connections, amounts.duration)?;
            let pgbench = self.bare.one_by_one(connections, amounts.duration)?;
            Ok(SingleRow { connections, server, pgbench })
        };
        CONNECTIONS.into_iter().map(row).collect()
    }
}
