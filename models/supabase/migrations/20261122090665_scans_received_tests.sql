-- Scans that campaigns received in test mode. Nothing else reads them, apart from replays and a person's own data.

-- Return the number of test scans of each campaign that has any, and the time at which the last one was received.
create function app.count_test_scans(p_campaign_ids uuid[])
returns table (campaign_id uuid, count bigint, last_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('campaigns:read');
    own uuid[] := app.own_campaigns();
begin
    return query
    select s.campaign_id, count(*), max(s.received_at) from public.qr_scans s
    where s.is_test and s.brand_id = brand and s.campaign_id = any (p_campaign_ids)
        and coalesce(s.campaign_id = any (own), true)
    group by s.campaign_id;
end
$$;
call app.grant_definer('app.count_test_scans(uuid[])', array['authenticated']);
