-- Which migrations this database has: what a process asks for before it says that it is ready.
-- Stays with the role that runs migrations, whose table the history is.
create function app.applied_migrations() returns text[]
language plpgsql stable security definer set search_path = '' as $$
begin
    return (select coalesce(array_agg(version order by version), '{}') from supabase_migrations.schema_migrations);
end
$$;
revoke all on function app.applied_migrations() from public;
grant execute on function app.applied_migrations() to app_public;
