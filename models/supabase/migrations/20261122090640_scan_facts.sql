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
    ends_at timestamptz, max_accuracy_m float8, max_location_age_s float8,
    max_lateness_s float8, notice_key text, requires_account boolean);

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

-- The planner inlines these two, which a `set search_path` would prevent. The names in a standard body are resolved here
-- and never again, so a caller's search path can't change them.
create function app.place(p_lat float8, p_lon float8) returns extensions.geography language sql immutable
    return extensions.st_setsrid(extensions.st_makepoint(p_lon, p_lat), 4326)::extensions.geography;
call app.grant_definer('app.place(float8,float8)', '{}');

-- The calendar window of a limit that a moment falls into. Hours are told by the moment they begin, so that the one
-- which a clock repeats in autumn is two.
create function app.scan_window(p_window text, p_at timestamptz, p_timezone text) returns text language sql stable
    return case p_window
        when 'lifetime' then p_window
        when 'day' then to_char(p_at at time zone p_timezone, 'YYYY-MM-DD')
        when 'hour' then to_char(date_trunc('hour', p_at, p_timezone) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
    end;
call app.grant_definer('app.scan_window(text,timestamptz,text)', '{}');

-- What is known of a scan, and what follows from that alone.
create type app.scan_facts as (
    n int,
    refusal text,                  -- nothing can be stored
    earlier_id uuid,               -- decided already, under the same client_scan_id
    incomplete boolean,            -- a required account, consent or location is missing: nothing may be stored
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

-- Return how far from the centre of a fence a scan was made, in metres, and on which side of the fence.
create function app.locate_scan(p_asked app.scan_request, p_fence app.scan_fence, out metres float8, out side text)
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if p_fence is null then
        side := 'none';
        return;
    end if;
    metres := extensions.st_distance(app.place(p_asked.lat, p_asked.lon), app.place(p_fence.lat, p_fence.lon));
    side := case
        when metres is null then 'unknown'
        when metres + p_asked.accuracy_m <= p_fence.radius_m then 'inside'
        when metres - p_asked.accuracy_m > p_fence.radius_m then 'outside'
        else 'uncertain'
    end;
end
$$;
call app.grant_definer('app.locate_scan(app.scan_request,app.scan_fence)', '{}');

-- The moments that bound the scans of a code, beside those of the campaign's configuration.
create type app.scan_span as (launched_at timestamptz, code_created_at timestamptz, completed_at timestamptz);

-- Whether a person lacks the account or a consent that the campaign requires.
create type app.scan_gaps as (account boolean, consents boolean);

-- Return why a scan doesn't count, limits aside; null: it does. Clocks of phones may be five minutes wrong.
create function app.scan_reason(
    p_asked app.scan_request, p_rules app.scan_rules, p_status text, p_span app.scan_span, p_missing app.scan_gaps,
    p_side text
) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    tolerance constant interval := '5 minutes';
    at constant timestamptz := p_asked.scanned_at;
begin
    return case
        -- These reasons apply at receipt, whatever the time of the scan.
        when p_status in ('Draft', 'Paused') or p_status = 'Completed' and exists (
                select from public.brands b where b.id = p_asked.brand_id and b.archived_at is not null)
            then 'campaign_not_active'
        when at > least(p_rules.ends_at, p_span.completed_at) then 'campaign_ended'
        when at < greatest(p_span.launched_at, p_rules.starts_at, p_span.code_created_at) - tolerance
            then 'campaign_not_active'
        when at > now() + tolerance then 'scan_time_invalid'
        when at < now() - tolerance - make_interval(secs => p_rules.max_lateness_s) then 'scan_too_old'
        when p_missing.account then 'account_required'
        when p_missing.consents then 'consent_required'
        when p_side = 'unknown' then 'location_required'
        when p_side = 'none' then null
        -- The position must be close to the scan in time, before or after it.
        when abs(extract(epoch from at - p_asked.captured_at)) > p_rules.max_location_age_s then 'location_stale'
        when p_asked.accuracy_m > p_rules.max_accuracy_m then 'location_inaccurate'
        when p_side = 'outside' then 'geofence_outside'
        when p_side = 'uncertain' and (p_rules.geofence).when_uncertain = 'reject' then 'geofence_uncertain'
    end;
end
$$;
call app.grant_definer('app.scan_reason(app.scan_request,app.scan_rules,text,app.scan_span,app.scan_gaps,text)', '{}');

-- Return the calendar window of a limit that is open now, and the shares left in it; nulls without a limit. The
-- phone's time chooses no window: it could choose one that is not full.
create function app.scan_share(
    p_campaign_id uuid, p_scope text, p_subject uuid, p_limit app.scan_limit, p_timezone text, out bucket text,
    out remaining bigint
) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if p_limit is null then
        return;
    end if;
    bucket := app.scan_window(p_limit."window", now(), p_timezone);
    remaining := p_limit.count - coalesce((select s.used from app.scan_counters s where s.campaign_id = p_campaign_id
        and s.scope = p_scope and s.subject = p_subject and s.bucket = scan_share.bucket), 0);
end
$$;
call app.grant_definer('app.scan_share(uuid,text,uuid,app.scan_limit,text)', '{}');

-- Look up, in one statement, everything that a batch's decisions depend on. `offset 0` has each scan look up its own
-- rows by key and keeps the planner from joining whole tables: a plan made when they were empty is still in use when
-- they aren't.
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
        o.id, lacking.account or lacking.consents or fence.side = 'unknown',
        app.scan_reason(p_asked[r.ordinality], k, m.status, (m.launched_at, c.created_at, m.completed_at),
            (lacking.account, lacking.consents), fence.side),
        case when fence.side = 'uncertain' then jsonb_build_object('when_uncertain', (k.geofence).when_uncertain)
            else '{}' end,
        coalesce(d.id, left(r.fingerprint_hash, 32)::uuid), d.last_seen,
        fence.metres, fence.side, coalesce(r.locale, alive.locale), k,
        of_user.bucket, of_user.remaining, (min(r.ordinality) over (partition by m.id, r.user_id, of_user.bucket))::int,
        of_device.bucket, of_device.remaining,
        (min(r.ordinality) over (partition by m.id, r.fingerprint_hash, of_device.bucket))::int,
        of_all.bucket, of_all.remaining, (min(r.ordinality) over (partition by m.id, of_all.bucket))::int
    from unnest(p_asked) with ordinality r
    left join lateral (
        select true as yes, u.locale from app.sessions s, public.users u, public.roles o
        where s.id = r.session_id and s.user_id = r.user_id and s.revoked_at is null and s.expires_at > now()
            and u.id = r.user_id and u.brand_id is not distinct from r.member_of
            and o.id = u.role_id and o.name = r.user_role
        offset 0
    ) alive on true
    left join lateral (select x.* from public.qr_codes x where x.id = r.code_id and x.disabled_at is null offset 0) c on true
    left join lateral (select x.* from public.campaigns x where x.id = c.campaign_id offset 0) m on true
    left join lateral jsonb_populate_record(null::app.scan_rules, m.config) k on true
    left join lateral (
        select x.id, x.last_seen from public.device_fingerprints x
        where x.fingerprint_hash = r.fingerprint_hash offset 0
    ) d on true
    left join lateral (
        -- `is true` leaves client_scan_id as the only condition of an index: planned for an empty table, any index
        -- that begins with the campaign looks as good, and later reads all scans of the campaign.
        select x.id, x.request_digest from public.qr_scans x
        where x.client_scan_id = r.client_scan_id and (x.campaign_id = m.id) is true
            and (x.user_id = r.user_id or x.device_fp_id = d.id)
        order by x.user_id = r.user_id desc limit 1
    ) o on true
    cross join lateral (
        select k.requires_account and (select u.is_anonymous from public.users u where u.id = r.user_id) as account,
            app.missing_consents(r.user_id, c.brand_id, k.consent_tiers) <> '{}' as consents offset 0
    ) lacking
    cross join lateral app.locate_scan(p_asked[r.ordinality], k.geofence) fence
    cross join lateral app.scan_share(m.id, 'user', r.user_id, (k.scan_limit).per_user, k.timezone) of_user
    cross join lateral app.scan_share(m.id, 'device', d.id, (k.scan_limit).per_device, k.timezone) of_device
    cross join lateral app.scan_share(m.id, 'campaign', m.id, (k.scan_limit).total, k.timezone) of_all
    order by r.ordinality;
end
$$;
call app.grant_definer('app.scan_facts(app.scan_request[],uuid[])', '{}');
