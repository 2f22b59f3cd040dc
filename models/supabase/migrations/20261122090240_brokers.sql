-- What a broker that can't show its queues is asked for instead: it says how many ids lie in one, and since they leave
-- it in the order they came, these are the newest that were published. There are never many of them.
create function app.newest_published(p_actors text[]) returns table (id uuid, published_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select j.id, j.published_at from app.jobs j
    where j.published_at is not null and j.state = 'published' and j.actor = any (p_actors)
    order by j.published_at desc;
end
$$;
call app.grant_definer('app.newest_published(text[])', array['app_worker']);
