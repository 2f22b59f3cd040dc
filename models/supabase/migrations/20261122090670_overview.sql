-- What the overview asks of scans and what their hourly counts can't say: how many people, and what has no score yet.

-- Scans without a score are few at any time, and this index holds no others.
create index qr_scans_unscored on public.qr_scans (brand_id, campaign_id, scan_time) where scored_at is null;
create index scan_rollups_brand on public.scan_rollups (brand_id, hour);

-- People with at least one accepted and scored scan that is not held for fraud, per campaign, and (campaign_id null) in all of them
-- together, where somebody who took part in two counts once. For all time there is a row for each of them; for a part
-- of it, the scans themselves say.
create function app.reach(p_campaign_id uuid, p_from timestamptz, p_to timestamptz)
returns table (campaign_id uuid, people bigint)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('analytics:read');
    own uuid[] := app.own_campaigns();
begin
    if p_from is null and p_to is null then
        return query
        select e.campaign_id, count(distinct e.user_id) from public.engagements e
        where e.brand_id = brand and e.accepted_scans > 0 and (p_campaign_id is null or e.campaign_id = p_campaign_id)
            and coalesce(e.campaign_id = any (own), true)
        group by grouping sets ((e.campaign_id), ());
        return;
    end if;
    return query
    select s.campaign_id, count(distinct s.user_id) from public.qr_scans s
    where s.brand_id = brand and s.campaign_id in (
            select c.id from public.campaigns c
            where c.brand_id = brand and (p_campaign_id is null or c.id = p_campaign_id)
                and coalesce(c.id = any (own), true))
        and s.scan_time >= coalesce(p_from, '-infinity') and s.scan_time < coalesce(p_to, 'infinity')
        and s.decision = 'accepted' and s.band in ('accept', 'review')
    group by grouping sets ((s.campaign_id), ());
end
$$;
call app.grant_definer('app.reach(uuid,timestamptz,timestamptz)', array['authenticated']);

-- Scans that wait for their score.
create function app.count_unscored(p_campaign_id uuid, p_from timestamptz, p_to timestamptz) returns bigint
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('analytics:read');
    own uuid[] := app.own_campaigns();
begin
    return (
        select count(*) from public.qr_scans s
        where s.brand_id = brand and (p_campaign_id is null or s.campaign_id = p_campaign_id)
            and coalesce(s.campaign_id = any (own), true)
            and s.scan_time >= coalesce(p_from, '-infinity') and s.scan_time < coalesce(p_to, 'infinity')
            and s.scored_at is null);
end
$$;
call app.grant_definer('app.count_unscored(uuid,timestamptz,timestamptz)', array['authenticated']);

-- Counts the scans of one hour (or, null, of all hours) of a campaign anew. Under the caller's row policies.
create function app.recount_scans(p_campaign_id uuid, p_hour timestamptz) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_start timestamptz := coalesce(p_hour, '-infinity');
    v_end timestamptz := coalesce(p_hour + interval '1 hour', 'infinity');
    v_as_of timestamptz;
begin
    -- One recount of a campaign at a time. The statement after this one sees all that the one before it had committed.
    perform pg_advisory_xact_lock(hashtextextended('overview:' || p_campaign_id, 0));
    v_as_of := clock_timestamp();
    with scans as materialized (
        select s.brand_id, date_trunc('hour', s.scan_time, 'UTC') as hour, s.decision, s.reason, s.flagged, s.band,
            s.evidence
        from public.qr_scans s
        where s.campaign_id = p_campaign_id and s.scan_time >= v_start and s.scan_time < v_end
    ),
    facts as (
        select s.brand_id, s.hour, 'decision' as kind, s.decision as key from scans s
        union all
        select s.brand_id, s.hour, 'reason', s.reason from scans s where s.decision = 'rejected'
        union all
        select s.brand_id, s.hour, 'band', s.band from scans s where s.decision = 'accepted' and s.band is not null
        union all
        -- flagged by any rule: the counts by rule overlap
        select s.brand_id, s.hour, 'rule', '*' from scans s where s.decision = 'accepted' and s.flagged
        union all
        select s.brand_id, s.hour, 'rule', found.rule from scans s
        cross join lateral (
            select distinct item ->> 'rule' as rule from jsonb_array_elements(s.evidence) as item
        ) as found
        where s.decision = 'accepted' and s.flagged
    ),
    counted as materialized (
        select f.brand_id, f.hour, f.kind, f.key, count(*) as count from facts f group by 1, 2, 3, 4
    ),
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
