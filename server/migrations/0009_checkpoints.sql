-- What accounts came to after every 1,000th entry, so that looking back need not read a history from its start. Written
-- by those who look back. It all follows from the entries: without these rows the answers are the same, later.

-- format: of the bytes in state. recorded_at: of the entry.
create table if not exists checkpoints (
  lane_id bigint not null,
  account_id uuid not null,
  format smallint not null,
  seq bigint not null check (seq > 0 and seq % 1000 = 0),
  environment_id bigint not null,
  recorded_at timestamptz not null,
  state bytea not null,
  primary key (lane_id, account_id, format, seq)
);

-- Blocks that had nothing left at a checkpoint and had some since the one before: state does not hold them.
create table if not exists checkpoint_blocks (
  lane_id bigint not null,
  account_id uuid not null,
  format smallint not null,
  block_id uuid not null,
  seq bigint not null check (seq > 0 and seq % 1000 = 0),
  environment_id bigint not null,
  granted_seq bigint not null,
  block jsonb not null,
  primary key (lane_id, account_id, format, block_id, seq)
);
create index if not exists checkpoint_blocks_in_order on checkpoint_blocks (lane_id, account_id, format, seq);

do $$
declare
  name text;
begin
  foreach name in array array['checkpoints', 'checkpoint_blocks'] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists own_environment on %I', name);
    execute format(
      'create policy own_environment on %I to quotastack_app using (environment_id = current_environment_id()) with check (environment_id = current_environment_id())',
      name);
  end loop;
end
$$;

grant select, insert on checkpoints, checkpoint_blocks to quotastack_app;
