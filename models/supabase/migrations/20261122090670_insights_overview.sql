-- The overview: hourly counts of scans, and the two numbers that they can't give: reach and scans without a score.

-- For app.count_unscored. Partial: few scans have no score at any time.
create index qr_scans_unscored on public.qr_scans (brand_id, campaign_id, scan_time)
    where scored_at is null and not is_test;
create index scan_rollups_brand on public.scan_rollups (brand_id, hour);

-- Return the reach of each campaign, and of all of them together (campaign_id null): people with an accepted and scored
-- scan that is not held for fraud, each counted once. A Creator sees assigned campaigns only.
create function app.reach(p_campaign_id uuid, p_from timestamptz, p_to timestamptz)
returns table (campaign_id uuid, people bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('analytics:read');
    own uuid[] := app.own_campaigns();
begin
    -- For all time, count the rows of engagements, which hold one row for each person and campaign.
    if p_from is null and p_to is null then
        return query
        select e.campaign_id, count(distinct e.user_id) from public.engagements e
        where e.brand_id = brand and e.scans > 0 and (p_campaign_id is null or e.campaign_id = p_campaign_id)
            and coalesce(e.campaign_id = any (own), true)
        group by grouping sets ((e.campaign_id), ());
        return;
    end if;
    -- For a window, count people in the scans of these campaigns.
    return query
    select s.campaign_id, count(distinct s.user_id) from app.real_scans s
    where s.brand_id = brand and s.campaign_id in (
            select c.id from public.campaigns c
            where c.brand_id = brand and (p_campaign_id is null or c.id = p_campaign_id)
                and coalesce(c.id = any (own), true))
        and s.scan_time >= coalesce(p_from, '-infinity') and s.scan_time < coalesce(p_to, 'infinity')
        and s.decision = 'accepted' and app.is_counted_band(s.band)
    group by grouping sets ((s.campaign_id), ());
end
$$;
call app.grant_definer('app.reach(uuid,timestamptz,timestamptz)', array['authenticated']);

-- Return the number of scans in the window (p_to excluded) that have no fraud score yet.
create function app.count_unscored(p_campaign_id uuid, p_from timestamptz, p_to timestamptz) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('analytics:read');
    own uuid[] := app.own_campaigns();
begin
    return (
        select count(*) from app.real_scans s
        where s.brand_id = brand and (p_campaign_id is null or s.campaign_id = p_campaign_id)
            and coalesce(s.campaign_id = any (own), true)
            and s.scan_time >= coalesce(p_from, '-infinity') and s.scan_time < coalesce(p_to, 'infinity')
            and s.scored_at is null);
end
$$;
call app.grant_definer('app.count_unscored(uuid,timestamptz,timestamptz)', array['authenticated']);

-- Recompute the rollups of a campaign for the hour that begins at p_hour, or for all hours (null).
-- Not SECURITY DEFINER: the caller's row policies apply, so a brand's job counts scans of its brand only.
create function app.recount_scans(p_campaign_id uuid, p_hour timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_start timestamptz := coalesce(p_hour, '-infinity');
    v_end timestamptz := coalesce(p_hour + interval '1 hour', 'infinity');
    v_as_of timestamptz;
begin
    -- Serialise recounts of a campaign: the statement below then sees everything that the previous recount and the
    -- scans before it have committed, so the last one to write is also the last one to read.
    perform pg_advisory_xact_lock(hashtextextended('overview:' || p_campaign_id, 0));
    v_as_of := clock_timestamp();
    with scans as materialized (
        select s.brand_id, date_trunc('hour', s.scan_time, 'UTC') as hour, s.decision, s.reason, s.flagged, s.band,
            s.evidence
        from app.real_scans s
        where s.campaign_id = p_campaign_id and s.scan_time >= v_start and s.scan_time < v_end
    ),
    -- One row for each fact of a scan that is counted.
    facts as (
        select s.brand_id, s.hour, 'decision' as kind, s.decision as key from scans s
        union all
        select s.brand_id, s.hour, 'reason', s.reason from scans s where s.decision = 'rejected'
        union all
        select s.brand_id, s.hour, 'band', s.band from scans s where s.decision = 'accepted' and s.band is not null
        union all
        -- '*' counts scans flagged by any rule: counts by rule overlap and can't be added up.
        select s.brand_id, s.hour, 'rule', '*' from scans s where s.decision = 'accepted' and s.flagged
        union all
        -- Once for each rule, also if the evidence names the rule twice.
        select s.brand_id, s.hour, 'rule', found.rule from scans s
        cross join lateral (
            select distinct item ->> 'rule' as rule from jsonb_array_elements(s.evidence) as item
        ) as found
        where s.decision = 'accepted' and s.flagged
    ),
    counted as materialized (
        select f.brand_id, f.hour, f.kind, f.key, count(*) as count from facts f group by 1, 2, 3, 4
    ),
    -- Delete buckets that became empty.
    gone as (
        delete from public.scan_rollups r
        where r.campaign_id = p_campaign_id and r.hour >= v_start and r.hour < v_end and not exists (
            select from counted c where c.hour = r.hour and c.kind = r.kind and c.key = r.key)
    )
    insert into public.scan_rollups (brand_id, campaign_id, hour, kind, key, count, as_of)
    select c.brand_id, p_campaign_id, c.hour, c.kind, c.key, c.count, v_as_of from counted c
    on conflict (campaign_id, hour, kind, key) do update set count = excluded.count, as_of = excluded.as_of;
end
$$;
grant execute on function app.recount_scans(uuid, timestamptz) to app_job;
