-- quotastack_app: what the server acts as inside every transaction. It owns nothing and cannot bypass row security.
-- quotastack_admin: what the operator's commands act as: tenants, environments, keys and lanes, nothing of an account.
-- quotastack_definer: owns the few functions that look across tenants, with no more rights than these need.
do $$
begin
  if not exists (select from pg_roles where rolname = 'quotastack_app') then
    create role quotastack_app nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'quotastack_admin') then
    create role quotastack_admin nologin;
  end if;
  if not exists (select from pg_roles where rolname = 'quotastack_definer') then
    create role quotastack_definer nologin;
  end if;
exception when duplicate_object or unique_violation then
  -- Roles belong to the whole cluster: another database was being migrated at the same moment.
  null;
end
$$;
do $$
begin
  execute format('grant quotastack_app, quotastack_admin, quotastack_definer to %I', current_user);
end
$$;
grant usage on schema public to quotastack_app, quotastack_admin, quotastack_definer;
