-- What a refund makes owed is part of the one debt without feature; its block knows how much of that is its own.

-- Entries from before this were hashed over other bytes and cannot be verified any more.
do $$
begin
  if exists (select from accounts) then
    raise exception 'this database was written by a version from before the first release; use an empty database (with dev: another --data-dir)';
  end if;
end
$$;

alter table blocks add column if not exists claw_back bigint not null default 0;
