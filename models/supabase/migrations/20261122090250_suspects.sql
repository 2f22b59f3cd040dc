-- Of jobs that could not be claimed those that are there to be claimed, but alone: a worker died while it held them.
create function app.suspects(p_ids uuid[]) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select j.id from app.jobs j where j.id = any (p_ids) and j.state = 'published' and j.crashes > 0;
end
$$;
call app.grant_definer('app.suspects(uuid[])', array['app_worker']);
