-- Requests with an idempotency key are kept for 30 days, then they go cheaply.

-- account_requests, in six slots that take turns, eight days each (a period). A request that must still be found lies in
-- one of at most five of them, so the sixth can be emptied at once, whatever is in it.
do $$
begin
  if exists (select from pg_class where oid = to_regclass('public.account_requests') and relkind = 'r') then
    alter table account_requests rename to account_requests_before_slots;
    alter index account_requests_pkey rename to account_requests_before_slots_pkey;
  end if;
end
$$;

-- created_at is real time, also in a sandbox. That no key has two rows within 30 days is held by the look-up under the
-- lane's lock, and within one period by the key too. The checks are what allows to empty a slot without reading it.
create table if not exists account_requests (
  lane_id bigint not null,
  key_hash bytea not null,
  period integer not null,
  slot smallint not null,
  environment_id bigint not null,
  request_hash bytea not null,
  seed bytea not null,
  outcome jsonb not null,
  created_at timestamptz not null,
  primary key (lane_id, key_hash, period, slot),
  constraint account_requests_period check (period = floor(extract(epoch from created_at) / 691200)),
  constraint account_requests_slot check (slot = period % 6)
) partition by list (slot);

alter table account_requests enable row level security;
alter table account_requests force row level security;
drop policy if exists own_environment on account_requests;
create policy own_environment on account_requests to quotastack_app
  using (environment_id = current_environment_id()) with check (environment_id = current_environment_id());
grant select, insert on account_requests to quotastack_app;

-- The server reaches the slots through account_requests only.
do $$
declare
  name text;
begin
  for slot in 0..5 loop
    name := format('account_requests_%s', slot);
    execute format('create table if not exists %I partition of account_requests for values in (%s)', name, slot);
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists definer_reads on %I', name);
    execute format('create policy definer_reads on %I for select to quotastack_definer using (true)', name);
    execute format('grant select, truncate on %I to quotastack_definer', name);
  end loop;
end
$$;

-- Those from before are kept for 30 days from now.
do $$
begin
  if to_regclass('public.account_requests_before_slots') is not null then
    insert into account_requests (lane_id, key_hash, period, slot, environment_id, request_hash, seed, outcome, created_at)
      select lane_id, key_hash, period, period % 6, environment_id, request_hash, seed, outcome, now()
      from account_requests_before_slots
      cross join (select floor(extract(epoch from now()) / 691200)::integer as period) this
      on conflict do nothing;
    drop table account_requests_before_slots;
  end if;
end
$$;

-- A key that is older than 30 days names a new request, whether or not its row is gone.
alter table catalogue_requests drop constraint if exists catalogue_requests_pkey;
alter table catalogue_requests add constraint catalogue_requests_pkey primary key (environment_id, key_hash, created_at);
create index if not exists catalogue_requests_by_age on catalogue_requests (created_at);
drop policy if exists definer_forgets on catalogue_requests;
create policy definer_forgets on catalogue_requests to quotastack_definer using (true);
grant select (environment_id, key_hash, created_at), delete on catalogue_requests to quotastack_definer;

-- Empties a slot of account_requests, if nothing in it can be asked for any more by the database's own clock: the
-- caller's is not trusted with history. False = there was nothing to do, or it is not time yet. Waits for nobody long.
create or replace function empty_request_slot(wanted smallint) returns boolean
  language plpgsql volatile security definer set search_path = public, pg_temp set lock_timeout = '200ms'
  as $$
  declare
    name text := format('account_requests_%s', wanted);
    has_rows boolean;
    first_live integer;
    last_live integer;
  begin
    if wanted is null or wanted not between 0 and 5 then
      raise exception 'there are slots 0 to 5';
    end if;
    execute format('select exists (select from %I)', name) into has_rows;
    if not has_rows then
      return false;
    end if;
    execute format('lock table only %I in access exclusive mode', name);
    -- An hour more at either end than a server's look-up reaches.
    first_live := floor(extract(epoch from clock_timestamp() - interval '721 hours') / 691200);
    last_live := floor(extract(epoch from clock_timestamp() + interval '1 hour') / 691200);
    if exists (select from generate_series(first_live, last_live) as period where period % 6 = wanted) then
      return false;
    end if;
    execute format('truncate only %I', name);
    return true;
  end
  $$;

-- Removes answers to catalogue requests that are older than 30 days, a page at a time; how many.
create or replace function forget_catalogue_requests(rows_max integer) returns bigint
  language sql volatile security definer set search_path = public, pg_temp
  as $$
    with old as (
      select environment_id, key_hash, created_at from catalogue_requests
      where created_at < clock_timestamp() - interval '721 hours'
      order by created_at limit rows_max
    ), gone as (
      delete from catalogue_requests r using old
      where r.environment_id = old.environment_id and r.key_hash = old.key_hash and r.created_at = old.created_at
      returning 1
    )
    select count(*) from gone
  $$;

grant create on schema public to quotastack_definer;
alter function empty_request_slot(smallint) owner to quotastack_definer;
alter function forget_catalogue_requests(integer) owner to quotastack_definer;
revoke create on schema public from quotastack_definer;
revoke all on function empty_request_slot(smallint) from public;
revoke all on function forget_catalogue_requests(integer) from public;
grant execute on function empty_request_slot(smallint) to quotastack_app;
grant execute on function forget_catalogue_requests(integer) to quotastack_app;
