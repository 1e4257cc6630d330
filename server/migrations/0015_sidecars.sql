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
grant select, insert, update, delete on sidecars to quotastack_app;
