-- Accounts that time alone will change, and the leases under which workers see to a lane.

-- next_due: the next instant at which time alone changes something; null = nothing is due. Not a column of accounts: the
-- index would end their in-place updates. A row is written only when its value changes, which usage rarely does.
create table if not exists due (
  lane_id bigint not null,
  account_id uuid not null,
  environment_id bigint not null,
  next_due timestamptz,
  primary key (lane_id, account_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
create index if not exists due_in_order on due (lane_id, next_due, account_id) where next_due is not null;

-- Accounts from before this table: due at once. Whoever has nothing due is put right by the worker's first look.
insert into due (lane_id, account_id, environment_id, next_due)
  select lane_id, account_id, environment_id, advanced_to from accounts a
  where exists (select from blocks b where b.lane_id = a.lane_id and b.account_id = a.account_id and b.remaining > 0
                and (b.expires_at is not null or b.effective_at > a.advanced_to))
     or exists (select from subscriptions s where s.lane_id = a.lane_id and s.account_id = a.account_id and s.live)
     or exists (select from reservations r where r.lane_id = a.lane_id and r.account_id = a.account_id and r.status = 'active')
  on conflict (lane_id, account_id) do nothing;

-- Who sees to which work in a lane, until when. Only saves double work: the lane's lock is what keeps it right.
create table if not exists worker_leases (
  lane_id bigint not null,
  work text not null,
  environment_id bigint not null,
  holder uuid not null,
  until timestamptz not null,
  primary key (lane_id, work)
) with (fillfactor = 50);

do $$
declare
  name text;
begin
  foreach name in array array['due', 'worker_leases'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists own_environment on %I', name);
    execute format(
      'create policy own_environment on %I to quotastack_app using (environment_id = current_environment_id()) with check (environment_id = current_environment_id())',
      name);
  end loop;
end
$$;
grant select, insert, update on due, worker_leases to quotastack_app;

drop policy if exists definer_reads on due;
create policy definer_reads on due for select to quotastack_definer using (true);
-- When something is due, not whose.
grant select (lane_id, next_due) on due to quotastack_definer;

-- Lanes with something due, each judged by its environment's own clock. Called by the worker, which serves all tenants.
-- One look into due_in_order per lane.
create or replace function due_lanes(real_now timestamptz, after_lane bigint, lanes_max integer)
  returns table (lane_id bigint, environment_id bigint, number smallint, present timestamptz, next_due timestamptz)
  language sql stable security definer set search_path = public, pg_temp
  as $$
    select l.lane_id, l.environment_id, l.number, clock.present, first.next_due
    from lanes l
    join environments e using (environment_id)
    cross join lateral (
      select coalesce(e.clock_standing_at, real_now + e.clock_ahead_micros * interval '1 microsecond') as present
    ) clock
    cross join lateral (
      select d.next_due from due d where d.lane_id = l.lane_id and d.next_due is not null order by d.next_due limit 1
    ) first
    where l.lane_id > after_lane and first.next_due <= clock.present
    order by l.lane_id
    limit lanes_max
  $$;

grant create on schema public to quotastack_definer;
alter function due_lanes(timestamptz, bigint, integer) owner to quotastack_definer;
revoke create on schema public from quotastack_definer;
revoke all on function due_lanes(timestamptz, bigint, integer) from public;
grant execute on function due_lanes(timestamptz, bigint, integer) to quotastack_app;
