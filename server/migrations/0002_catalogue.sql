-- Tenants, environments, keys and the catalogue: small tables, reference tables on a distributed engine.

create table if not exists tenants (
  tenant_id uuid primary key,
  name text not null,
  credit_scale bigint not null default 1000 check (credit_scale between 1 and 1000000),
  created_at timestamptz not null
);

-- environment_id names one environment of one tenant; row security compares nothing else.
create table if not exists environments (
  environment_id bigint primary key,
  tenant_id uuid not null references tenants,
  environment text not null check (environment in ('live', 'sandbox')),
  catalogue_version bigint not null,
  clock_standing_at timestamptz,
  clock_ahead_micros bigint not null default 0,
  unique (tenant_id, environment),
  constraint environments_live_clock_is_real
    check (environment = 'sandbox' or (clock_standing_at is null and clock_ahead_micros = 0))
);

create table if not exists api_keys (
  key_id uuid primary key,
  environment_id bigint not null references environments,
  name text not null,
  hint text not null,
  hash bytea not null unique,
  scopes text[] not null,
  created_at timestamptz not null,
  expires_at timestamptz,
  revoked_at timestamptz
);

create table if not exists features (
  environment_id bigint not null references environments,
  feature_key text not null,
  name text not null,
  kind text not null,
  default_enabled boolean not null,
  default_value text,
  overage_policy text not null,
  overdraft_limit bigint check (overdraft_limit >= 0),
  offline text not null,
  created_at timestamptz not null,
  primary key (environment_id, feature_key)
);

create table if not exists feature_prices (
  environment_id bigint not null,
  feature_key text not null,
  effective_from timestamptz not null,
  cost bigint not null check (cost >= 0),
  per_units bigint not null check (per_units > 0),
  primary key (environment_id, feature_key, effective_from),
  foreign key (environment_id, feature_key) references features
);

create table if not exists plans (
  environment_id bigint not null references environments,
  plan_id uuid not null,
  name text not null,
  kind text not null,
  created_at timestamptz not null,
  primary key (environment_id, plan_id)
);

-- definition: the rules of one version, in the words of the API.
create table if not exists variants (
  environment_id bigint not null,
  variant_id uuid not null,
  version integer not null check (version > 0),
  plan_id uuid not null,
  name text not null,
  definition jsonb not null,
  created_at timestamptz not null,
  primary key (environment_id, variant_id, version),
  foreign key (environment_id, plan_id) references plans
);

-- Answers to catalogue requests with an Idempotency-Key; those of account requests are in account_requests.
create table if not exists catalogue_requests (
  environment_id bigint not null references environments,
  key_hash bytea not null,
  request_hash bytea not null,
  answer jsonb not null,
  created_at timestamptz not null,
  primary key (environment_id, key_hash)
);

-- One row: the random id of this database's history (replicas and outboxes of another history start afresh), and the
-- version of the schema.
create table if not exists history (
  singleton boolean primary key default true check (singleton),
  epoch uuid not null,
  schema_version integer not null
);
