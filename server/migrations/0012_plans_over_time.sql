-- Subscriptions that go on: what plans give only once, and what rolls over from period to period.

-- Entries from before this were hashed over other bytes and cannot be verified any more.
do $$
begin
  if exists (select from accounts) then
    raise exception 'this database was written by a version from before the first release; use an empty database (with dev: another --data-dir)';
  end if;
end
$$;

-- given: the `once` grants and trials that an end user had, and their periods on the fallback.
alter table accounts drop column if exists given_once;
alter table accounts add column if not exists given jsonb;
alter table accounts add column if not exists rollovers jsonb;

alter table blocks add column if not exists rolled bigint not null default 0;
alter table blocks add column if not exists frozen boolean not null default false;
alter table blocks add column if not exists rollover jsonb;

-- An invoice pays debts too.
drop index if exists entries_of_debts;
create index if not exists entries_of_debts on entries (lane_id, account_id, seq)
  where kind in ('debt_settled', 'debt_billed', 'void');
