-- A block of a plan stays at hand until it is over, also while it has nothing left: what moves its end (a pause, a grace, a
-- change) holds for what a hold or a void gives back to it later. So the writer says whether it is live.
drop index if exists blocks_live;
alter table blocks drop column if exists live;
alter table blocks add column live boolean;
update blocks set live = remaining > 0
  or (subscription_id is not null and ended is null and (frozen or expires_at is null or expires_at > now()));
alter table blocks alter column live set not null;
create index blocks_live on blocks (lane_id, account_id) where live;
