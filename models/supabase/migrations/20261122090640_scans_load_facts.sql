-- Load the facts that decide a batch of scans, in one statement: types, the rules of one scan, and the statement.

-- A scan as the web tier passes it. The fingerprint was hashed for this brand_id, campaign_id and key_version.
create type app.scan_request as (
    id uuid,
    job_id uuid,
    code_id uuid,                  -- null: the token has no valid signature
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

-- The part of campaigns.config that applies to scans.
create type app.scan_fence as (lat float8, lon float8, radius_m float8, when_uncertain text);
create type app.scan_limit as (count bigint, "window" text);
create type app.scan_limits as (per_user app.scan_limit, per_device app.scan_limit, total app.scan_limit);
create type app.scan_rules as (
    geofence app.scan_fence, scan_limit app.scan_limits, scan_windows jsonb, consent_tiers text[], timezone text,
    starts_at timestamptz, ends_at timestamptz, max_accuracy_m float8, max_location_age_s float8,
    max_lateness_s float8, notice_key text, requires_account boolean, test_mode boolean);

-- Return the campaign, the brand and the pinned key version of a code. The web tier needs them to hash a fingerprint.
create function app.scan_code(p_code_id uuid, out campaign_id uuid, out brand_id uuid, out key_version int)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select c.campaign_id, c.brand_id, m.fingerprint_key_version
    into scan_code.campaign_id, scan_code.brand_id, scan_code.key_version
    from public.qr_codes c join public.campaigns m on m.id = c.campaign_id where c.id = p_code_id;
end
$$;
call app.grant_definer('app.scan_code(uuid)', array['app_scan']);

-- The functions with a standard body are inlined by the planner, which a `set search_path` would prevent. Names in a
-- standard body are resolved when the function is created, so a caller's search path can't change them.

create function app.place(p_lat float8, p_lon float8) returns extensions.geography language sql immutable
    return extensions.st_setsrid(extensions.st_makepoint(p_lon, p_lat), 4326)::extensions.geography;
call app.grant_definer('app.place(float8,float8)', '{}');

-- Return whether a scan that is received now is late.
create function app.is_late(p_scanned_at timestamptz) returns boolean language sql stable
    return p_scanned_at < now() - interval '2 minutes';
call app.grant_definer('app.is_late(timestamptz)', '{}');

-- Return the key of the calendar window of a limit that contains an instant. An hour's key is its start in UTC: the
-- local hour that a clock change in autumn repeats is two windows.
create function app.limit_window(p_window text, p_at timestamptz, p_timezone text) returns text language sql stable
    return case p_window
        when 'lifetime' then p_window
        when 'day' then to_char(p_at at time zone p_timezone, 'YYYY-MM-DD')
        when 'hour' then to_char(date_trunc('hour', p_at, p_timezone) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"')
    end;
call app.grant_definer('app.limit_window(text,timestamptz,text)', '{}');

-- Return the stored scan that a request repeats. It is of the same person, or else of the same device.
create function app.find_earlier_scan(p_client_scan_id uuid, p_campaign_id uuid, p_user_id uuid, p_device_id uuid)
returns table (id uuid, request_digest bytea) language sql stable
begin atomic
    -- `is true` leaves client_scan_id as the only index condition. The generic plan may be made while the table is
    -- empty: then an index that begins with the campaign costs the same, and later reads all scans of the campaign.
    select s.id, s.request_digest from public.qr_scans s
    where s.client_scan_id = p_client_scan_id and (s.campaign_id = p_campaign_id) is true
        and (s.user_id = p_user_id or s.device_fp_id = p_device_id)
    order by s.user_id = p_user_id desc limit 1;
end;
call app.grant_definer('app.find_earlier_scan(uuid,uuid,uuid,uuid)', '{}');

-- The facts of a scan, and the decision that follows from them without the other scans of the batch.
create type app.scan_facts as (
    n int,                         -- place in the batch, from 1
    refusal text,                  -- reason for which nothing can be stored
    earlier_id uuid,               -- the stored scan that the request repeats
    incomplete boolean,            -- a required account, consent or location is missing: nothing may be stored
    reason text,                   -- reason for which the scan doesn't count
    details jsonb,
    device_id uuid,
    device_last_seen timestamptz,  -- null: a new device
    distance_m float8,
    geofence_status text,
    locale text,
    rules app.scan_rules,
    is_test boolean,               -- the campaign is in test mode: no limit applies, and no job follows
    -- For each limit: the key of the open window, the scans left in it, and the place of the first scan of the batch
    -- with the same counter.
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

-- Return the geofence status of a scan, and its distance in metres: from the centre of a circle, or from the border of
-- a polygon (p_area), negative inside. So a position is inside if its distance is at most the radius, 0 for a polygon.
create function app.locate_scan(
    p_request app.scan_request, p_fence app.scan_fence, p_area extensions.geography, p_border extensions.geography,
    out distance_m float8, out status text
) language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    place constant extensions.geography := app.place(p_request.lat, p_request.lon);
    radius constant float8 := coalesce(p_fence.radius_m, 0);
begin
    if p_fence is null then
        status := 'none';
        return;
    end if;
    if p_area is null then
        distance_m := extensions.st_distance(place, app.place(p_fence.lat, p_fence.lon));
    else
        distance_m := extensions.st_distance(place, p_border)
            * case when extensions.st_covers(p_area, place) then -1 else 1 end;
    end if;
    status := case
        when distance_m is null then 'unknown'
        when distance_m + p_request.accuracy_m <= radius then 'inside'
        when distance_m - p_request.accuracy_m > radius then 'outside'
        else 'uncertain'
    end;
end
$$;
call app.grant_definer(
    'app.locate_scan(app.scan_request,app.scan_fence,extensions.geography,extensions.geography)', '{}');

-- Return whether an instant is within a weekly window. A window that closes at or before its opening closes on the next
-- day. An open window stays open when clocks change before it closes. A local time that occurs twice is within the
-- window both times, and an opening that clocks skip is made up for when they have changed.
create function app.is_in_windows(p_at timestamptz, p_windows jsonb, p_timezone text) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    local constant timestamp := p_at at time zone p_timezone;
begin
    return exists (
        select from jsonb_to_recordset(p_windows) as w (days jsonb, opens time, closes time)
        cross join unnest(array[local::date - 1, local::date]) as opening (day)
        cross join lateral (select opening.day + w.opens as opens,
            opening.day + case when w.closes <= w.opens then 1 else 0 end + w.closes as closes) at
        where w.days ? to_char(opening.day, 'dy') and (
            local >= at.opens and local < at.closes
            or p_at >= at.opens at time zone p_timezone and p_at < at.closes at time zone p_timezone)
    );
end
$$;
call app.grant_definer('app.is_in_windows(timestamptz,jsonb,text)', '{}');

-- Return the first instant from p_at on that is within a weekly window, and before p_ends_at; null: there is none.
create function app.next_opening(p_at timestamptz, p_windows jsonb, p_timezone text, p_ends_at timestamptz)
returns timestamptz language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    local constant timestamp := p_at at time zone p_timezone;
    found timestamptz;
begin
    if app.is_in_windows(p_at, p_windows, p_timezone) then
        return case when p_at < p_ends_at or p_ends_at is null then p_at end;
    end if;
    for found in
        -- A local time that occurs twice is found by the hour before it, and one that clocks skip by the full hour, at
        -- which they have changed. Candidates that are within no window are skipped below.
        select at.candidate
        from jsonb_to_recordset(p_windows) as w (days jsonb, opens time)
        cross join generate_series(0, 8) as later (n)
        cross join lateral (select local::date + later.n + w.opens as opening) next
        cross join lateral (values (next.opening at time zone p_timezone),
            ((next.opening - interval '1 hour') at time zone p_timezone + interval '1 hour'),
            (date_trunc('hour', next.opening at time zone p_timezone))) as at (candidate)
        where w.days ? to_char(next.opening, 'dy') and at.candidate > p_at
        order by at.candidate
    loop
        if found >= p_ends_at then
            exit;
        elsif app.is_in_windows(found, p_windows, p_timezone) then
            return found;
        end if;
    end loop;
    return null;
end
$$;
call app.grant_definer('app.next_opening(timestamptz,jsonb,text,timestamptz)', '{}');

-- The instants that bound a code's scans, besides those of the campaign's configuration.
create type app.scan_period as (launched_at timestamptz, code_created_at timestamptz, completed_at timestamptz);

-- Whether a required account or a required consent is missing.
create type app.missing_requirements as (account boolean, consents boolean);

-- Return the reason for which a scan doesn't count, limits aside; null: it counts.
create function app.scan_reason(
    p_request app.scan_request, p_rules app.scan_rules, p_status text, p_period app.scan_period,
    p_missing app.missing_requirements, p_geofence_status text
) returns text language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    tolerance constant interval := '5 minutes';  -- for wrong clocks of phones
    at constant timestamptz := p_request.scanned_at;
begin
    return case
        -- A pause and an archived brand apply on receipt, whatever the time of the scan.
        when p_status in ('Draft', 'Paused') or p_status = 'Completed' and exists (
                select from public.brands b where b.id = p_request.brand_id and b.archived_at is not null)
            then 'campaign_not_active'
        -- The time of the scan.
        when at > least(p_rules.ends_at, p_period.completed_at) then 'campaign_ended'
        when at < greatest(p_period.launched_at, p_rules.starts_at, p_period.code_created_at) - tolerance
            then 'campaign_not_active'
        when p_rules.scan_windows <> '[]' and not app.is_in_windows(at, p_rules.scan_windows, p_rules.timezone)
            then 'scan_window_closed'
        when at > now() + tolerance then 'scan_time_invalid'
        when at < now() - tolerance - make_interval(secs => p_rules.max_lateness_s) then 'scan_too_old'
        -- Required account, consents and location: without them nothing is stored.
        when p_missing.account then 'account_required'
        when p_missing.consents then 'consent_required'
        when p_geofence_status = 'unknown' then 'location_required'
        -- The position. It must be close to the scan in time, before or after it.
        when p_geofence_status = 'none' then null
        when abs(extract(epoch from at - p_request.captured_at)) > p_rules.max_location_age_s then 'location_stale'
        when p_request.accuracy_m > p_rules.max_accuracy_m then 'location_inaccurate'
        when p_geofence_status = 'outside' then 'geofence_outside'
        when p_geofence_status = 'uncertain' and (p_rules.geofence).when_uncertain = 'reject' then 'geofence_uncertain'
    end;
end
$$;
call app.grant_definer(
    'app.scan_reason(app.scan_request,app.scan_rules,text,app.scan_period,app.missing_requirements,text)', '{}');

-- Return the key of a limit's window that is open now, and the scans left in it; nulls without a limit. scanned_at
-- chooses no window: a phone could choose one that is not full.
create function app.read_limit(
    p_campaign_id uuid, p_scope text, p_subject uuid, p_limit app.scan_limit, p_timezone text, out bucket text,
    out remaining bigint
) language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    if p_limit is null then
        return;
    end if;
    bucket := app.limit_window(p_limit."window", now(), p_timezone);
    remaining := p_limit.count - coalesce((select c.used from app.limit_counters c where c.campaign_id = p_campaign_id
        and c.scope = p_scope and c.subject = p_subject and c.bucket = read_limit.bucket), 0);
end
$$;
call app.grant_definer('app.read_limit(uuid,text,uuid,app.scan_limit,text)', '{}');

-- Load the facts of a batch. p_limited: the campaigns whose own key is locked.
-- `offset 0` makes each scan look up its own rows by key. Without it the planner joins whole tables: the generic plan
-- may be made while they are empty, and stays in use when they aren't.
create function app.load_scan_facts(p_requests app.scan_request[], p_limited uuid[]) returns setof app.scan_facts
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select r.ordinality::int,
        -- Reasons for which nothing can be stored, whatever the campaign's rules.
        case
            when session.id is null then 'session_ended'
            when r.code_id is null then 'bad_token'
            when c.id is null then 'unknown_code'
            -- The fingerprint was hashed for another brand or with another key, or a limit was set after the locking.
            when (c.brand_id, c.campaign_id, coalesce(m.fingerprint_key_version, r.key_version))
                    is distinct from (r.brand_id, r.campaign_id, r.key_version)
                or (k.scan_limit).total is not null and m.id <> all (p_limited) then 'changed_meanwhile'
            when earlier.request_digest <> decode(r.request_digest, 'hex') then 'client_scan_id_reused'
        end,
        earlier.id,
        -- The decision, limits aside.
        lacking.account or lacking.consents or located.status = 'unknown',
        app.scan_reason(p_requests[r.ordinality], k, m.status, (m.launched_at, c.created_at, m.completed_at),
            (lacking.account, lacking.consents), located.status),
        -- Facts of the fence that evidence needs later: the fence may have changed by then.
        case located.status
            when 'uncertain' then jsonb_build_object('when_uncertain', (k.geofence).when_uncertain,
                'radius_m', (k.geofence).radius_m)
            when 'outside' then jsonb_build_object('radius_m', (k.geofence).radius_m)
            else '{}' end,
        -- The id of a new device is derived from its hash, so that scans of one batch agree on it.
        coalesce(d.id, left(r.fingerprint_hash, 32)::uuid), d.last_seen,
        located.distance_m, located.status, coalesce(r.locale, session.locale), k, coalesce(k.test_mode, false),
        -- The limits. All scans of a batch fall into the windows that are open now.
        of_user.bucket, of_user.remaining, (min(r.ordinality) over (partition by m.id, r.user_id))::int,
        of_device.bucket, of_device.remaining, (min(r.ordinality) over (partition by m.id, r.fingerprint_hash))::int,
        of_all.bucket, of_all.remaining, (min(r.ordinality) over (partition by m.id))::int
    from unnest(p_requests) with ordinality r
    left join lateral (
        -- As in app.require_session. The web tier has refused tokens that state that MFA is owed.
        select l.id, l.locale from app.live_sessions l
        where l.id = r.session_id and l.user_id = r.user_id and l.role = r.user_role
            and l.brand_id is not distinct from r.member_of and l.mfa_required is null
        offset 0
    ) session on true
    left join lateral (
        select x.* from public.qr_codes x where x.id = r.code_id and x.disabled_at is null offset 0
    ) c on true
    left join lateral (select x.* from public.campaigns x where x.id = c.campaign_id offset 0) m on true
    left join lateral jsonb_populate_record(null::app.scan_rules, m.scan_config) k on true
    left join lateral (
        select x.id, x.last_seen from public.device_fingerprints x
        where x.fingerprint_hash = r.fingerprint_hash offset 0
    ) d on true
    left join lateral app.find_earlier_scan(r.client_scan_id, m.id, r.user_id, d.id) earlier on true
    cross join lateral (
        select k.requires_account and (select u.is_anonymous from public.users u where u.id = r.user_id) as account,
            app.missing_consents(r.user_id, c.brand_id, k.consent_tiers) <> '{}' as consents offset 0
    ) lacking
    cross join lateral app.locate_scan(p_requests[r.ordinality], k.geofence, m.area, m.border) located
    cross join lateral app.read_limit(m.id, 'user', r.user_id, (k.scan_limit).per_user, k.timezone) of_user
    cross join lateral app.read_limit(m.id, 'device', d.id, (k.scan_limit).per_device, k.timezone) of_device
    cross join lateral app.read_limit(m.id, 'campaign', m.id, (k.scan_limit).total, k.timezone) of_all
    order by r.ordinality;
end
$$;
call app.grant_definer('app.load_scan_facts(app.scan_request[],uuid[])', '{}');
