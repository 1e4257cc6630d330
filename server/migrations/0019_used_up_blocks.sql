-- A block of a plan stays at hand until it is over, also while it has nothing left: what moves its end (a pause, a grace, a
-- change) holds for what a hold or a void gives back to it later. So the writer says whether it is live.
drop index if exists blocks_live;
alter table blocks drop column if exists live;
alter table blocks add column live boolean;
-- By the account's own time: a sandbox may be years ahead.
update blocks b set live = b.remaining > 0
  or (b.subscription_id is not null and b.ended is null and (b.frozen or b.expires_at is null or b.expires_at > a.advanced_to))
from accounts a where a.lane_id = b.lane_id and a.account_id = b.account_id;
alter table blocks alter column live set not null;
create index blocks_live on blocks (lane_id, account_id) where live;
