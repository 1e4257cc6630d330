//! A database in the server's Postgres with the server's schema and none of its rules: what the tables themselves can
//! take, in batches and (pgbench) one event at a time.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::command::{output, program};
use crate::load::{self, Filled, Rate};
use crate::stack::{Binaries, Stack};
use crate::tools;

const NAME: &str = "bare";

/// One event at a time, as pgbench saw it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Pgbench {
    pub(crate) transactions_per_second: u64,
    pub(crate) average_ns: u64,
}

/// The database.
pub(crate) struct Bare {
    url: String,
    script: PathBuf,
}

impl Bare {
    /// Creates it, with the schema and with as many accounts as there are end users.
    pub(crate) fn create(binaries: &Binaries, stack: &Stack, end_users: u64) -> anyhow::Result<Self> {
        let server_url = &stack.server.database_url;
        let url = server_url.replacen("/quotastack?", &format!("/{NAME}?"), 1);
        anyhow::ensure!(url != *server_url, "the private Postgres gives the URL of its database `quotastack`");
        load::bare_create(binaries, server_url, NAME)?;
        for arguments in [&["migrate"][..], &["tenant", "create", "--name", NAME]] {
            output(program(binaries.path("quotastack-server")).args(arguments).env("DATABASE_URL", &url))?;
        }
        let filled = load::bare_fill(binaries, &url, end_users)?;
        let script = stack.dir().join("pgbench.sql");
        fs::write(&script, transaction(&filled, end_users)).with_context(|| format!("writing {}", script.display()))?;
        Ok(Self { url, script })
    }

    /// The rows of so many batches.
    pub(crate) fn insert(&self, binaries: &Binaries, end_users: u64, batches: u64) -> anyhow::Result<Rate> {
        load::bare_insert(binaries, &self.url, end_users, batches)
    }

    /// One event per transaction; `None` where there is no pgbench.
    pub(crate) fn one_by_one(&self, clients: usize, duration: Duration) -> anyhow::Result<Option<Pgbench>> {
        let Some(pgbench) = tools::postgres::pgbench() else { return Ok(None) };
        let mut command = program(pgbench);
        command.args(["--no-vacuum", "--protocol", "prepared", "--client", &clients.to_string()]);
        command.args(["--time", &duration.as_secs().max(1).to_string(), "--file"]).arg(&self.script);
        let text = output(command.arg(&self.url))?;
        let of = |label: &str| number(&text, label).with_context(|| format!("no `{label}` in {text}"));
        Ok(Some(Pgbench {
            transactions_per_second: of("tps = ")? / 1_000,
            average_ns: of("latency average = ")? * 1_000,
        }))
    }
}

/// A number after a label, in thousandths.
fn number(text: &str, label: &str) -> Option<u64> {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let rest = text.split_once(label)?.1;
    let whole = digits(rest);
    let part = rest[whole.len()..].strip_prefix('.').map(digits).unwrap_or_default();
    format!("{whole}{:0<3.3}", part).parse().ok()
}

/// What recording one event takes: find and lock the account, insert the event and its entry, update the account.
fn transaction(filled: &Filled, end_users: u64) -> String {
    let lanes = (0..)
        .zip(&filled.lanes)
        .map(|(number, lane)| format!("when :number % {} = {number} then {lane}", filled.lanes.len()));
    let lanes = lanes.collect::<Vec<_>>().join(" ");
    let Filled { environment_id, .. } = filled;
    format!(
        "\\set number random(0, {last})
\\set lane case {lanes} end
begin;
select seq + 1 as seq, balance - 1 as balance from accounts where lane_id = :lane
  and account_id = ('00000000-0000-7000-8000-' || lpad(:number::text, 12, '0'))::uuid for update \\gset
insert into usage_events (lane_id, environment_id, account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key,
  units, properties, cost, charged, effective_at, recorded_at, seq, version, balance_after, reserved_after, debt_after, owed,
  priced_by, counter, reservation_id, feed_seq)
  values (:lane, {environment_id}, ('00000000-0000-7000-8000-' || lpad(:number::text, 12, '0'))::uuid,
  uuid_send(gen_random_uuid()), {id}, gen_random_uuid()::text, uuid_send(gen_random_uuid()), 'ai_request', 1, null, 1, 1,
  now(), now(), :seq, :seq, :balance, 0, 0, 0, '{{\"source\": \"feature\", \"rule\": null}}', null, null, :seq);
insert into entries (lane_id, environment_id, account_id, seq, kind, amount, balance_after, reserved_after, debt_after,
  allocations, granted, cause, cause_id, feature_key, units, effective_at, recorded_at, actor, hash, reservation_id, detail)
  values (:lane, {environment_id}, ('00000000-0000-7000-8000-' || lpad(:number::text, 12, '0'))::uuid, :seq, 'usage', -1,
  :balance, 0, 0, '[[\"blk_00000000000000000000000000\", -1]]', null, 'usage', gen_random_uuid(), 'ai_request', 1, now(), now(),
  '00000000-0000-7000-a000-000000000000', sha256(uuid_send(gen_random_uuid())), null, null);
update accounts set seq = :seq, version = :seq, balance = :balance, advanced_to = now(), lifetime_consumed = lifetime_consumed + 1
  where lane_id = :lane and account_id = ('00000000-0000-7000-8000-' || lpad(:number::text, 12, '0'))::uuid;
commit;
",
        last = end_users - 1,
        id = TIME_ORDERED_ID,
    )
}

/// Minted in order of time, as the server's are.
const TIME_ORDERED_ID: &str = "(lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') \
  || substr(gen_random_uuid()::text, 15))::uuid";

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_read_in_thousandths() {
        assert_eq!(number("tps = 812.4 (without)", "tps = "), Some(812_400));
        assert_eq!(number("latency average = 1.23456 ms", "latency average = "), Some(1_234));
        assert_eq!(number("tps = 7", "tps = "), Some(7_000));
        assert_eq!(number("nothing", "tps = "), None);
    }
}
