-- Every table of a tenant shows only rows of the environment that the transaction has named.
-- Outside such a transaction the setting is empty, and no row is seen.

create or replace function current_environment_id() returns bigint
  language sql stable parallel safe
  return nullif(current_setting('quotastack.environment_id', true), '')::bigint;

do $$
declare
  name text;
begin
  foreach name in array array[
    'environments', 'api_keys', 'features', 'feature_prices', 'plans', 'variants', 'catalogue_requests', 'lanes',
    'accounts', 'blocks', 'subscriptions', 'entries', 'usage_events', 'events', 'feed', 'account_requests'
  ] loop
    execute format('alter table %I enable row level security', name);
    execute format('alter table %I force row level security', name);
    execute format('drop policy if exists own_environment on %I', name);
    execute format(
      'create policy own_environment on %I to quotastack_app using (environment_id = current_environment_id()) with check (environment_id = current_environment_id())',
      name);
  end loop;
end
$$;

alter table tenants enable row level security;
alter table tenants force row level security;
drop policy if exists own_tenant on tenants;
create policy own_tenant on tenants to quotastack_app
  using (tenant_id = (select tenant_id from environments where environment_id = current_environment_id()));

-- Belongs to no tenant.
alter table history enable row level security;
alter table history force row level security;
drop policy if exists everybody_reads on history;
create policy everybody_reads on history for select to quotastack_app, quotastack_admin using (true);
grant select on history to quotastack_app, quotastack_admin;

grant select on tenants to quotastack_app;
grant select, update on environments to quotastack_app;
grant select on api_keys to quotastack_app;
grant select, insert, update on features, plans to quotastack_app;
grant select, insert on feature_prices, variants, catalogue_requests to quotastack_app;
grant select, update on lanes to quotastack_app;
grant select, insert, update on accounts, blocks, subscriptions, feed to quotastack_app;
-- The history can be added to and read, nothing else.
grant select, insert on entries, usage_events, events, account_requests to quotastack_app;

do $$
declare
  name text;
begin
  foreach name in array array['tenants', 'environments', 'api_keys', 'lanes'] loop
    execute format('drop policy if exists operator on %I', name);
    execute format('create policy operator on %I to quotastack_admin using (true) with check (true)', name);
  end loop;
end
$$;
grant select, insert, update on tenants, environments, api_keys to quotastack_admin;
grant select, insert on lanes to quotastack_admin;

-- Looks that cross tenants, each as narrow as its caller needs.
drop policy if exists definer_reads on environments;
create policy definer_reads on environments for select to quotastack_definer using (true);
drop policy if exists definer_reads on api_keys;
create policy definer_reads on api_keys for select to quotastack_definer using (true);
drop policy if exists definer_reads on lanes;
create policy definer_reads on lanes for select to quotastack_definer using (true);
grant select on environments, api_keys, lanes to quotastack_definer;

-- Whose key this is. Called before a tenant is known.
create or replace function find_api_key(wanted bytea)
  returns table (key_id uuid, environment_id bigint, tenant_id uuid, environment text, scopes text[], expires_at timestamptz, revoked_at timestamptz)
  language sql stable security definer set search_path = public, pg_temp
  as $$
    select k.key_id, k.environment_id, e.tenant_id, e.environment, k.scopes, k.expires_at, k.revoked_at
    from api_keys k join environments e using (environment_id)
    where k.hash = wanted
  $$;

-- How far the lanes of these environments are. Called by the feed, which serves several tenants at once.
create or replace function lane_positions(wanted bigint[])
  returns table (environment_id bigint, number smallint, feed_seq bigint, catalogue_version bigint)
  language sql stable security definer set search_path = public, pg_temp
  as $$
    select l.environment_id, l.number, l.feed_seq, e.catalogue_version
    from lanes l join environments e using (environment_id)
    where l.environment_id = any (wanted)
  $$;

grant create on schema public to quotastack_definer;
alter function find_api_key(bytea) owner to quotastack_definer;
alter function lane_positions(bigint[]) owner to quotastack_definer;
revoke create on schema public from quotastack_definer;
revoke all on function find_api_key(bytea) from public;
revoke all on function lane_positions(bigint[]) from public;
grant execute on function find_api_key(bytea) to quotastack_app;
grant execute on function lane_positions(bigint[]) to quotastack_app;
