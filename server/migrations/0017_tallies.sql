-- What is used in the periods of postpaid subscriptions, until it is summed up; null where there never was one.

alter table accounts add column if not exists tallies jsonb;
