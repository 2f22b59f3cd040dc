-- Campaigns whose limit of all scans is nearly used up: which windows have been announced.

-- Not a column of app.limit_counters: an update there would delay the scans that wait for the counter's row.
create table app.limit_notices (
    brand_id uuid not null,
    campaign_id uuid not null,
    bucket text not null,                   -- key of the window (see app.limit_window)
    created_at timestamptz not null default now(),
    primary key (campaign_id, bucket),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index limit_notices_campaign on app.limit_notices (brand_id, campaign_id);

call app.secure('app.limit_notices', p_system => 'select,delete');

-- Record that a campaign of the job's brand has used p_share (0 to 1) of its limit of all scans in the present window.
-- Return its name and the figures, once for each window; no row otherwise.
create function app.note_near_limit(p_campaign_id uuid, p_share float8)
returns table (campaign text, used bigint, most bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    with near as (
        select c.id, c.brand_id, c.name, l.bucket, l.used, k.count
        from public.campaigns c
        cross join lateral (values ((c.config #>> '{scan_limit,total,count}')::bigint,
            c.config #>> '{scan_limit,total,window}')) k (count, "window")
        join app.limit_counters l on l.campaign_id = c.id and l.scope = 'campaign' and l.subject = c.id
            and l.bucket = app.limit_window(k."window", now(), coalesce(c.config ->> 'timezone', 'UTC'))
        where c.id = p_campaign_id and c.brand_id = (app.claims() #>> '{app_metadata,brand_id}')::uuid
            and c.status = 'Active' and l.used >= k.count * p_share
    ), added as (
        insert into app.limit_notices (brand_id, campaign_id, bucket)
        select n.brand_id, n.id, n.bucket from near n on conflict do nothing returning campaign_id
    )
    select n.name, n.used, n.count from near n join added a on a.campaign_id = n.id;
end
$$;
call app.grant_definer('app.note_near_limit(uuid,float8)', array['app_job']);
