-- What is asked of scans and what they are held against: the types, and one statement that looks it all up.

-- A scan as the web tier hands it over. brand_id, campaign_id and key_version are what the fingerprint was hashed for.
create type app.scan_request as (
    id uuid,
    job_id uuid,
    code_id uuid,                  -- null: the token is not signed by us
    campaign_id uuid,
    brand_id uuid,
    key_version int,
    fingerprint_hash text,
    user_id uuid,
    session_id uuid,
    user_role text,
    member_of uuid,                -- the brand in the caller's claims
    client_scan_id uuid,
    request_digest text,           -- hex
    scanned_at timestamptz,
    lat float8,
    lon float8,
    accuracy_m float8,
    captured_at timestamptz,
    locale text,
    address text,
    user_agent text,
    request_id text,
    correlation_id text,
    traceparent text
);

-- campaigns.config, as far as it concerns scans.
create type app.scan_fence as (lat float8, lon float8, radius_m float8, when_uncertain text);
create type app.scan_limit as (count bigint, "window" text);
create type app.scan_limits as (per_user app.scan_limit, per_device app.scan_limit, total app.scan_limit);
create type app.scan_rules as (
    geofence app.scan_fence, scan_limit app.scan_limits, consent_tiers text[], timezone text, starts_at timestamptz,
    ends_at timestamptz, max_accuracy_m float8, max_location_age_s float8, notice_key text);

-- What the web tier has to know of a code before it can hash a fingerprint.
create function app.scan_code(p_code_id uuid, out campaign_id uuid, out brand_id uuid, out key_version int)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select c.campaign_id, c.brand_id, m.fingerprint_key_version
    into scan_code.campaign_id, scan_code.brand_id, scan_code.key_version
    from public.qr_codes c join public.campaigns m on m.id = c.campaign_id where c.id = p_code_id;
end
$$;
call app.grant_definer('app.scan_code(uuid)', array['app_scan']);

-- In these two there is no `set search_path`, so that the planner puts them into the statements that use them.
create function app.place(p_lat float8, p_lon float8) returns extensions.geography language sql immutable as $$
    select extensions.st_setsrid(extensions.st_makepoint(p_lon, p_lat), 4326)::extensions.geography
$$;
call app.grant_definer('app.place(float8,float8)', '{}');

-- The calendar window of a limit that a moment falls into. Hours are told by the moment they begin, so that the one
-- which a clock repeats in autumn is two.
create function app.scan_window(p_window text, p_at timestamptz, p_timezone text) returns text language sql stable as $$
    select case p_window
        when 'lifetime' then p_window
        when 'day' then to_char(p_at at time zone p_timezone, 'YYYY-MM-DD')
        when 'hour' then to_char(date_trunc('hour', p_at, p_timezone) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
    end
$$;
call app.grant_definer('app.scan_window(text,timestamptz,text)', '{}');

-- What is known of a scan, and what follows from that alone.
create type app.scan_facts as (
    n int,
    refusal text,                  -- nothing can be stored
    earlier_id uuid,               -- decided already, under the same client_scan_id
    reason text,                   -- it doesn't count
    details jsonb,
    device_id uuid,
    device_seen timestamptz,       -- null: never before
    distance_m float8,
    fence text,
    locale text,
    rules app.scan_rules,
    -- Of each limit: the calendar window that the scan falls into, the shares of it that are left, and the first scan
    -- of the batch that wants one of them.
    user_window text,
    user_left bigint,
    user_first int,
    device_window text,
    device_left bigint,
    device_first int,
    total_window text,
    total_left bigint,
    total_first int
);

-- Looks up, in one statement, all that scans are held against. `offset 0` has each scan look up its own rows by key and
-- keeps the planner from joining whole tables: a plan made when they were empty is still in use when they aren't.
create function app.scan_facts(p_asked app.scan_request[], p_limited uuid[]) returns setof app.scan_facts
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select r.ordinality::int,
        case
            when alive.yes is null then 'session_ended'
            when r.code_id is null then 'bad_token'
            when c.id is null then 'unknown_code'
            -- The fingerprint was hashed for another brand or with another key, or a limit was set since we locked.
            when (c.brand_id, c.campaign_id, coalesce(m.fingerprint_key_version, r.key_version))
                    is distinct from (r.brand_id, r.campaign_id, r.key_version)
                or (k.scan_limit).total is not null and m.id <> all (p_limited) then 'changed_meanwhile'
            when o.request_digest <> decode(r.request_digest, 'hex') then 'client_scan_id_reused'
        end,
        o.id,
        case
            when m.status in ('Draft', 'Paused') then 'campaign_not_active'
            when m.status = 'Completed' or r.scanned_at > k.ends_at then 'campaign_ended'
            when r.scanned_at < k.starts_at then 'campaign_not_active'
            when r.scanned_at > now() + interval '5 minutes' then 'scan_time_invalid'
            when r.scanned_at < now() - interval '24 hours' then 'scan_too_old'
            when app.missing_consents(r.user_id, c.brand_id, k.consent_tiers) <> '{}' then 'consent_required'
            when fence.status = 'unknown' then 'location_required'
            when fence.status = 'none' then null
            -- A position is a scan's if it was taken close to it in time, whichever came first.
            when abs(extract(epoch from r.scanned_at - r.captured_at)) > k.max_location_age_s then 'location_stale'
            when r.accuracy_m > k.max_accuracy_m then 'location_inaccurate'
            when fence.status = 'outside' then 'geofence_outside'
            when fence.status = 'uncertain' and (k.geofence).when_uncertain = 'reject' then 'geofence_uncertain'
        end,
        case when fence.status = 'uncertain' then jsonb_build_object('when_uncertain', (k.geofence).when_uncertain)
            else '{}' end,
        coalesce(d.id, left(r.fingerprint_hash, 32)::uuid),
        d.last_seen,
        fence.distance_m,
        fence.status,
        coalesce(r.locale, alive.locale),
        k,
        w.of_user, ((k.scan_limit).per_user).count - coalesce((select s.used from app.scan_counters s
            where s.campaign_id = m.id and s.scope = 'user' and s.subject = r.user_id and s.bucket = w.of_user), 0),
        (min(r.ordinality) over (partition by m.id, r.user_id, w.of_user))::int,
        w.of_device, ((k.scan_limit).per_device).count - coalesce((select s.used from app.scan_counters s
            where s.campaign_id = m.id and s.scope = 'device' and s.subject = d.id and s.bucket = w.of_device), 0),
        (min(r.ordinality) over (partition by m.id, r.fingerprint_hash, w.of_device))::int,
        w.of_all, ((k.scan_limit).total).count - coalesce((select s.used from app.scan_counters s
            where s.campaign_id = m.id and s.scope = 'campaign' and s.subject = m.id and s.bucket = w.of_all), 0),
        (min(r.ordinality) over (partition by m.id, w.of_all))::int
    from unnest(p_asked) with ordinality r
    left join lateral (
        select true as yes, u.locale from app.sessions s, public.users u, public.roles o
        where s.id = r.session_id and s.user_id = r.user_id and s.revoked_at is null and s.expires_at > now()
            and u.id = r.user_id and u.brand_id is not distinct from r.member_of
            and o.id = u.role_id and o.name = r.user_role
        offset 0
    ) alive on true
    left join lateral (
        select x.id, x.brand_id, x.campaign_id from public.qr_codes x
        where x.id = r.code_id and x.disabled_at is null offset 0
    ) c on true
    left join lateral (
        select x.id, x.status, x.config, x.fingerprint_key_version from public.campaigns x
        where x.id = c.campaign_id offset 0
    ) m on true
    left join lateral jsonb_populate_record(null::app.scan_rules, m.config) k on true
    left join lateral (
        select x.id, x.request_digest from public.qr_scans x
        where x.campaign_id = m.id and x.user_id = r.user_id and x.client_scan_id = r.client_scan_id offset 0
    ) o on true
    left join lateral (
        select x.id, x.last_seen from public.device_fingerprints x
        where x.fingerprint_hash = r.fingerprint_hash offset 0
    ) d on true
    cross join lateral (
        select extensions.st_distance(app.place(r.lat, r.lon), app.place((k.geofence).lat, (k.geofence).lon)) as metres
        offset 0
    ) away
    cross join lateral (
        select away.metres as distance_m, case
            when k.geofence is null then 'none'
            when away.metres is null then 'unknown'
            when away.metres + r.accuracy_m <= (k.geofence).radius_m then 'inside'
            when away.metres - r.accuracy_m > (k.geofence).radius_m then 'outside'
            else 'uncertain'
        end as status
    ) fence
    cross join lateral (
        select app.scan_window(((k.scan_limit).per_user)."window", r.scanned_at, k.timezone) as of_user,
            app.scan_window(((k.scan_limit).per_device)."window", r.scanned_at, k.timezone) as of_device,
            app.scan_window(((k.scan_limit).total)."window", r.scanned_at, k.timezone) as of_all
        offset 0
    ) w
    order by r.ordinality;
end
$$;
call app.grant_definer('app.scan_facts(app.scan_request[],uuid[])', '{}');
