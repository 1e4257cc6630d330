-- Every charge changes a block's `remaining`. While a condition of an index names that column, each change of it is a new
-- entry in every index of the table; `live` changes once in a block's life, and its row is updated in place.
drop index if exists blocks_live;
alter table blocks add column if not exists live boolean generated always as (remaining > 0) stored;
create index if not exists blocks_live on blocks (lane_id, account_id) where live;
