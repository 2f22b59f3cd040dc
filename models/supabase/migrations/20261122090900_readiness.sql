-- Applied migrations of this database, for /readyz. Anonymous requests may call it.

grant usage on schema supabase_migrations to app_definer;
grant select on supabase_migrations.schema_migrations to app_definer;

-- Return the versions of all applied migrations, oldest first.
create function app.applied_migrations() returns text[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select array_agg(version order by version) from supabase_migrations.schema_migrations);
end
$$;
call app.grant_definer('app.applied_migrations()', array['app_public']);
