-- Reading usage: each event's place in the feed, and sums of usage by hour, day and month.

-- The place under which the account was written with it: one place belongs to one account, so (feed_seq, seq) is the
-- order in which a lane recorded.
alter table usage_events add column if not exists feed_seq bigint;
alter table usage_voids add column if not exists feed_seq bigint;
-- What was recorded before this stands at its account's present place.
update usage_events u set feed_seq = f.feed_seq from feed f
  where u.feed_seq is null and f.lane_id = u.lane_id and f.account_id = u.account_id;
update usage_voids v set feed_seq = f.feed_seq from feed f
  where v.feed_seq is null and f.lane_id = v.lane_id and f.account_id = v.account_id;
alter table usage_events alter column feed_seq set not null;
alter table usage_voids alter column feed_seq set not null;
create index if not exists usage_events_in_order on usage_events (lane_id, feed_seq);
create index if not exists usage_voids_in_order on usage_voids (lane_id, feed_seq);
-- For the ends of a range that are no full hours.
create index if not exists usage_events_by_time on usage_events (lane_id, effective_at);
-- An account's events are read along its entries.
drop index if exists usage_events_of_account;

-- account_id: the nil UUID for the sums of the whole lane. property, value: empty for all usage of the feature; else
-- '=' and the value, '-' for events without the property, '*' for values beyond the number that is told apart.
-- Sums are numeric: many events of up to 2^53 units.
create table if not exists usage_rollups (
  lane_id bigint not null,
  account_id uuid not null,
  property text collate "C" not null,
  grain text collate "C" not null,
  bucket_start timestamptz not null,
  feature_key text collate "C" not null,
  value text collate "C" not null,
  environment_id bigint not null,
  events bigint not null,
  units numeric not null,
  cost numeric not null,
  primary key (lane_id, account_id, property, grain, bucket_start, feature_key, value)
) with (fillfactor = 70);
create index if not exists usage_rollups_of_accounts on usage_rollups (lane_id, grain, bucket_start, account_id)
  where property = '' and account_id <> '00000000-0000-0000-0000-000000000000';

-- Up to which place of a lane's feed its usage is in usage_rollups. Whoever adds to them locks this row.
create table if not exists usage_rollup_heads (
  lane_id bigint primary key,
  environment_id bigint not null,
  rolled_to bigint not null
) with (fillfactor = 50);

-- The values of a property that summaries tell apart.
create table if not exists usage_property_values (
  environment_id bigint not null references environments,
  feature_key text collate "C" not null,
  property text collate "C" not null,
  value text collate "C" not null,
  primary key (environment_id, feature_key, property, value)
);

do $$
declare
  name text;
begin
  foreach name in array array['usage_rollups', 'usage_rollup_heads', 'usage_property_values'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists own_environment on %I', name);
    execute format(
      'create policy own_environment on %I to quotastack_app using (environment_id = current_environment_id()) with check (environment_id = current_environment_id())',
      name);
  end loop;
end
$$;
grant select, insert, update on usage_rollups, usage_rollup_heads to quotastack_app;
grant select, insert on usage_property_values to quotastack_app;

drop policy if exists definer_reads on usage_rollup_heads;
create policy definer_reads on usage_rollup_heads for select to quotastack_definer using (true);
grant select on usage_rollup_heads to quotastack_definer;

-- The lanes that are furthest ahead of their rollups. Called by the worker, which serves all tenants.
create or replace function lanes_to_roll_up(at_most integer)
  returns table (environment_id bigint, lane_id bigint)
  language sql stable security definer set search_path = public, pg_temp
  as $$
    select l.environment_id, l.lane_id
    from lanes l left join usage_rollup_heads h on h.lane_id = l.lane_id
    where l.feed_seq > coalesce(h.rolled_to, 0)
    order by l.feed_seq - coalesce(h.rolled_to, 0) desc limit at_most
  $$;
grant create on schema public to quotastack_definer;
alter function lanes_to_roll_up(integer) owner to quotastack_definer;
revoke create on schema public from quotastack_definer;
revoke all on function lanes_to_roll_up(integer) from public;
grant execute on function lanes_to_roll_up(integer) to quotastack_app;
