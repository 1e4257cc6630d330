-- Sums of usage in the order of time: what is recorded now is added at a few places of the index. In the order of accounts,
-- each event would read and write pages of its own, and the more accounts there are, the fewer of them are in memory.

-- The key leads to the accounts of a bucket too.
drop index if exists usage_rollups_of_accounts;
alter table usage_rollups drop constraint if exists usage_rollups_pkey;
alter table usage_rollups add constraint usage_rollups_pkey
  primary key (lane_id, property, grain, bucket_start, account_id, feature_key, value);
