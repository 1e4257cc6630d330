-- What is used in the periods of postpaid subscriptions, until it is summed up; null where there never was one. What was
-- subscribed to before, for usage that arrives late.

alter table accounts add column if not exists tallies jsonb, add column if not exists past jsonb;
