-- The sidecars of an environment, as the servers that they were linked to have seen them last.

-- session: of the newest link; an older one that ends later changes nothing.
create table if not exists sidecars (
  environment_id bigint not null references environments,
  sidecar_id uuid not null,
  run_id bytea not null,
  session uuid not null,
  software text not null,
  mode text not null,
  linked_at timestamptz not null,
  seen_at timestamptz not null,
  ended_at timestamptz,
  behind bigint not null,
  report jsonb not null,
  primary key (environment_id, sidecar_id)
) with (fillfactor = 50);

alter table sidecars enable row level security;
alter table sidecars force row level security;
drop policy if exists own_environment on sidecars;
create policy own_environment on sidecars to quotastack_app
  using (environment_id = current_environment_id()) with check (environment_id = current_environment_id());
grant select, insert, update on sidecars to quotastack_app;

-- Forgets the sidecars of an environment that were last heard of more than 30 days ago, by the database's own clock.
drop policy if exists definer_forgets on sidecars;
create policy definer_forgets on sidecars to quotastack_definer using (true);
grant select (environment_id, seen_at), delete on sidecars to quotastack_definer;
create or replace function forget_sidecars(of_environment bigint) returns void
  language sql volatile security definer set search_path = public, pg_temp
  as $$
    delete from sidecars where environment_id = of_environment and seen_at < clock_timestamp() - interval '30 days'
  $$;
grant create on schema public to quotastack_definer;
alter function forget_sidecars(bigint) owner to quotastack_definer;
revoke create on schema public from quotastack_definer;
revoke all on function forget_sidecars(bigint) from public;
grant execute on function forget_sidecars(bigint) to quotastack_app;
