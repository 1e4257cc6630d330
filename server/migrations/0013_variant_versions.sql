-- A variant can be archived, and its subscribers can be found and moved to its newest version.

grant update (definition) on variants to quotastack_app;

-- Columns of their own: an index on expressions over `state` would make every change of it a new entry in every index.
alter table subscriptions add column if not exists variant_id text generated always as (state ->> 'variant_id') stored;
alter table subscriptions add column if not exists variant_version integer
  generated always as ((state ->> 'variant_version')::integer) stored;
create index if not exists subscriptions_of_variant on subscriptions (lane_id, variant_id, subscription_id)
  include (variant_version) where live;
