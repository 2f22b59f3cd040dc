-- Describe a code before it is scanned: its brand and campaign, the requirements of a scan, and the notice to show.
-- Return no row for an unknown or disabled code. account_missing and missing_tiers are null unless a person is signed
-- in; an API key is no person.
create function app.describe_code(p_code_id uuid, p_locales text[])
returns table (
    brand_id uuid, brand_name text, brand_color text, campaign_id uuid, campaign_name text, campaign_type text,
    status text, test_mode boolean, starts_at timestamptz, ends_at timestamptz, timezone text, scan_windows jsonb,
    opens_at timestamptz, location_required boolean, account_required boolean, account_missing boolean,
    consent_tiers text[], missing_tiers text[], notice_id uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := case when app.claims() ? 'session_id' then (app.claims() ->> 'sub')::uuid end;
begin
    return query
    select b.id, b.name, b.settings ->> 'color', m.id, m.name, m.type,
        case
            when m.status = 'Completed' or k.ends_at <= now() then 'ended'
            when m.status = 'Paused' or b.archived_at is not null then 'paused'
            when m.status = 'Draft' or k.starts_at > now() then 'not_started'
            when k.scan_windows <> '[]' and coalesce(opening.at > now(), true) then 'closed'
            else 'active'
        end,
        coalesce(k.test_mode, false), k.starts_at, k.ends_at, coalesce(k.timezone, 'UTC'),
        coalesce(k.scan_windows, '[]'), case when opening.at > now() then opening.at end,
        k.geofence is not null, coalesce(k.requires_account, false),
        (select coalesce(k.requires_account, false) and u.is_anonymous from public.users u where u.id = caller),
        k.consent_tiers,
        case when caller is not null then app.missing_consents(caller, b.id, k.consent_tiers) end,
        app.notice_in_force(k.notice_key, p_locales)
    from public.qr_codes c
    join public.campaigns m on m.id = c.campaign_id
    join public.brands b on b.id = c.brand_id
    cross join lateral jsonb_populate_record(null::app.scan_rules, m.scan_config) k
    cross join lateral (select case when k.scan_windows <> '[]' then app.next_opening(
        greatest(now(), k.starts_at), k.scan_windows, k.timezone, least(k.ends_at, m.completed_at)) end) as opening (at)
    where c.id = p_code_id and c.disabled_at is null;
end
$$;
call app.grant_definer('app.describe_code(uuid,text[])', array['app_public', 'authenticated', 'app_fan', 'app_admin']);
