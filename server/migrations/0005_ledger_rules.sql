-- The rest of the ledger's rules: holds, voids, corrections, top-ups, tier counters, overrides, prices of every kind.

-- Entries from before this were hashed over other bytes and cannot be verified any more.
do $$
begin
  if exists (select from accounts) then
    raise exception 'this database was written by a version from before the first release; use an empty database (with dev: another --data-dir)';
  end if;
end
$$;

-- null where there is none: most accounts have neither counters nor overrides.
alter table accounts add column if not exists last_expiry timestamptz;
alter table accounts add column if not exists counters jsonb;
alter table accounts add column if not exists overrides jsonb;

alter table blocks add column if not exists withdrawn bigint not null default 0;
alter table blocks add column if not exists variant_id uuid;
alter table blocks add column if not exists cap_group text;
-- ended: how people ended it before its time.
alter table blocks add column if not exists ended text;
alter table blocks drop constraint if exists blocks_amounts;
alter table blocks add constraint blocks_amounts
  check (0 <= held and held <= remaining and remaining <= original and 0 <= expired and 0 <= withdrawn);
create index if not exists blocks_by_id on blocks (lane_id, block_id);
-- What late usage may still have.
create index if not exists blocks_expired on blocks (lane_id, account_id, expires_at) where expired > 0;

-- detail: what only some kinds of entries say, null where there is nothing.
alter table entries add column if not exists reservation_id uuid;
alter table entries add column if not exists detail jsonb;
-- What a void needs to know: which blocks paid debts, and what was given back of it.
create index if not exists entries_of_debts on entries (lane_id, account_id, seq) where kind in ('debt_settled', 'void');

-- Why people made some entries, in their words. Apart from the entries, so that a person can be erased.
create table if not exists entry_reasons (
  lane_id bigint not null,
  account_id uuid not null,
  seq bigint not null,
  environment_id bigint not null,
  reason text not null,
  primary key (lane_id, account_id, seq)
);

alter table usage_events add column if not exists owed bigint not null default 0;
alter table usage_events add column if not exists priced_by jsonb;
alter table usage_events add column if not exists counter jsonb;
alter table usage_events add column if not exists reservation_id uuid;
create index if not exists usage_events_by_id on usage_events (lane_id, usage_id);
create index if not exists usage_events_of_account on usage_events (lane_id, account_id, usage_id);

-- Append-only: usage that was undone.
create table if not exists usage_voids (
  lane_id bigint not null,
  usage_id uuid not null,
  account_id uuid not null,
  environment_id bigint not null,
  reason text,
  returned bigint not null,
  debt_undone bigint not null,
  seq bigint not null,
  version bigint not null,
  balance_after bigint not null,
  reserved_after bigint not null,
  debt_after bigint not null,
  voided_at timestamptz not null,
  primary key (lane_id, usage_id)
);

-- state: the reservation in the words of the rules. parts: what it holds, as [block, amount], in order. counted: the
-- units of its tier counter that are not committed.
create table if not exists reservations (
  lane_id bigint not null,
  reservation_id uuid not null,
  account_id uuid not null,
  environment_id bigint not null,
  status text not null,
  state jsonb not null,
  parts jsonb not null,
  counted bigint,
  primary key (lane_id, reservation_id)
) with (fillfactor = 80);
create index if not exists reservations_of_account on reservations (lane_id, account_id, reservation_id);
create index if not exists reservations_active on reservations (lane_id, account_id) where status = 'active';

-- reference_hash: the first 16 bytes of BLAKE3 over the payment's reference; unique for ever.
create table if not exists topups (
  lane_id bigint not null,
  account_id uuid not null,
  reference_hash bytea not null,
  topup_id uuid not null,
  environment_id bigint not null,
  state jsonb not null,
  primary key (lane_id, account_id, reference_hash)
);
create index if not exists topups_by_id on topups (lane_id, topup_id);
create index if not exists topups_of_account on topups (lane_id, account_id, topup_id);

alter table features add column if not exists summary_properties text[] not null default '{}';
delete from feature_prices;
delete from variants;
alter table feature_prices add column if not exists price jsonb not null;
alter table feature_prices drop column if exists cost;
alter table feature_prices drop column if exists per_units;

create table if not exists topup_packages (
  environment_id bigint not null references environments,
  package_id uuid not null,
  definition jsonb not null,
  archived_at timestamptz,
  created_at timestamptz not null,
  primary key (environment_id, package_id)
);

do $$
declare
  name text;
begin
  foreach name in array array['entry_reasons', 'usage_voids', 'reservations', 'topups', 'topup_packages'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists own_environment on %I', name);
    execute format(
      'create policy own_environment on %I to quotastack_app using (environment_id = current_environment_id()) with check (environment_id = current_environment_id())',
      name);
  end loop;
end
$$;

grant select, insert, update on reservations, topups, topup_packages to quotastack_app;
grant select, insert on usage_voids, entry_reasons to quotastack_app;
