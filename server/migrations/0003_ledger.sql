-- Everything that belongs to an account lives in one lane: lane_id comes first in every key and in every statement.

-- One row per lane, locked by every transaction that changes an account of it, so feed_seq is in commit order.
create table if not exists lanes (
  lane_id bigint primary key,
  environment_id bigint not null references environments,
  number smallint not null,
  feed_seq bigint not null default 0,
  last_now timestamptz not null,
  unique (environment_id, number)
) with (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

create table if not exists accounts (
  lane_id bigint not null,
  account_id uuid not null,
  environment_id bigint not null,
  end_user_id text not null,
  seq bigint not null,
  version bigint not null,
  last_hash bytea not null,
  advanced_to timestamptz not null,
  balance bigint not null,
  reserved bigint not null,
  debt bigint not null check (debt >= 0),
  lifetime_granted bigint not null,
  lifetime_consumed bigint not null,
  debts jsonb not null,
  given_once jsonb not null,
  primary key (lane_id, account_id),
  unique (lane_id, end_user_id)
) with (fillfactor = 80);

create table if not exists blocks (
  lane_id bigint not null,
  account_id uuid not null,
  block_id uuid not null,
  environment_id bigint not null,
  granted_seq bigint not null,
  granted_place smallint not null,
  kind text not null,
  priority smallint not null,
  paid boolean not null,
  settles_debt boolean not null,
  effective_at timestamptz not null,
  expires_at timestamptz,
  scope jsonb not null,
  subscription_id uuid,
  template smallint,
  original bigint not null,
  expired bigint not null,
  remaining bigint not null,
  held bigint not null,
  price_paid bigint,
  currency text,
  metadata jsonb,
  primary key (lane_id, account_id, block_id),
  constraint blocks_amounts check (0 <= held and held <= remaining and remaining <= original and 0 <= expired)
) with (fillfactor = 80);
create index if not exists blocks_live on blocks (lane_id, account_id) where remaining > 0;

create table if not exists subscriptions (
  lane_id bigint not null,
  subscription_id uuid not null,
  account_id uuid not null,
  environment_id bigint not null,
  live boolean not null,
  state jsonb not null,
  created_at timestamptz not null,
  primary key (lane_id, subscription_id)
);
create index if not exists subscriptions_of_account on subscriptions (lane_id, account_id, subscription_id);

-- Append-only: the application's role can neither update nor delete.
create table if not exists entries (
  lane_id bigint not null,
  account_id uuid not null,
  seq bigint not null,
  environment_id bigint not null,
  kind text not null,
  amount bigint not null,
  balance_after bigint not null,
  reserved_after bigint not null,
  debt_after bigint not null,
  allocations jsonb not null,
  granted jsonb,
  cause text not null,
  cause_id uuid,
  feature_key text,
  units bigint,
  effective_at timestamptz not null,
  recorded_at timestamptz not null,
  actor uuid,
  hash bytea not null,
  primary key (lane_id, account_id, seq)
);

-- Append-only. key_hash: the first 16 bytes of BLAKE3 over the event's key; unique for ever.
create table if not exists usage_events (
  lane_id bigint not null,
  account_id uuid not null,
  key_hash bytea not null,
  usage_id uuid not null,
  environment_id bigint not null,
  idempotency_key text not null,
  fingerprint bytea not null,
  feature_key text not null,
  units bigint not null,
  properties jsonb,
  cost bigint not null,
  charged bigint not null,
  effective_at timestamptz not null,
  recorded_at timestamptz not null,
  seq bigint not null,
  version bigint not null,
  balance_after bigint not null,
  reserved_after bigint not null,
  debt_after bigint not null,
  primary key (lane_id, account_id, key_hash)
);

-- Append-only. place: order within one stamp of the feed.
create table if not exists events (
  lane_id bigint not null,
  feed_seq bigint not null,
  place integer not null,
  event_id uuid not null,
  environment_id bigint not null,
  account_id uuid not null,
  occurred_at timestamptz not null,
  type text not null,
  data jsonb not null,
  primary key (lane_id, feed_seq, place)
);

-- Where each account stands in its lane's feed; narrow, so that accounts keep their in-place updates.
create table if not exists feed (
  lane_id bigint not null,
  account_id uuid not null,
  environment_id bigint not null,
  feed_seq bigint not null,
  primary key (lane_id, account_id)
) with (fillfactor = 50);
create unique index if not exists feed_in_order on feed (lane_id, feed_seq);

-- What a request with this key did, stored with the effect: a repeated run of the same request finds it.
create table if not exists account_requests (
  lane_id bigint not null,
  key_hash bytea not null,
  environment_id bigint not null,
  request_hash bytea not null,
  seed bytea not null,
  outcome jsonb not null,
  created_at timestamptz not null,
  primary key (lane_id, key_hash)
);
