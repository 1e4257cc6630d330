-- How sidecars admit usage of a feature. Leases are reservations whose state says whose they are.

alter table features add column if not exists enforcement text not null default 'advisory';
