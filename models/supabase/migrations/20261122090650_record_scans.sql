-- The decision on scans: app.record_scans takes a batch, in one transaction, and answers for each row of it.
--
-- What a decision depends on and others change at the same time is locked first, in one order for all batches:
-- a person in a campaign (limits, replays), a device (limits, its own row), and a campaign with a total limit.

-- A scan as the web tier hands it over. brand_id, campaign_id and key_version are what the fingerprint was hashed for.
create type app.scan_request as (
    n int,                         -- which row of the batch this is
    id uuid,
    job_id uuid,
    device_id uuid,                -- for a device not seen before
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

create type app.scan_outcome as (
    n int,
    decision text,                 -- accepted, rejected; with nothing stored: refused, busy, failed
    reason text,
    details jsonb,
    scan_id uuid,                  -- another id than the request's: an earlier request has been answered again
    campaign_id uuid,
    scanned_at timestamptz,
    received_at timestamptz,
    late boolean
);

-- campaigns.config, as far as it concerns scans.
create type app.scan_fence as (lat float8, lon float8, radius_m float8, when_uncertain text);
create type app.scan_limit as (count bigint, "window" text);
create type app.scan_limits as (per_user app.scan_limit, per_device app.scan_limit, total app.scan_limit);
create type app.scan_rules as (
    geofence app.scan_fence, scan_limit app.scan_limits, consent_tiers text[], timezone text, starts_at timestamptz,
    ends_at timestamptz, max_accuracy_m float8, max_location_age_s float8);

-- What the web tier has to know of a code before it can hash a fingerprint.
create function app.scan_code(p_code_id uuid, out campaign_id uuid, out brand_id uuid, out key_version int)
language plpgsql stable security definer set search_path = '' as $$
begin
    select c.campaign_id, c.brand_id, m.fingerprint_key_version
    into scan_code.campaign_id, scan_code.brand_id, scan_code.key_version
    from public.qr_codes c join public.campaigns m on m.id = c.campaign_id where c.id = p_code_id;
end
$$;
call app.grant_definer('app.scan_code(uuid)', array['app_scan']);

-- The keys of one scan: its person in the campaign, its device, and the campaign.
create function app.scan_keys(p_campaign_id uuid, p_user_id uuid, p_fingerprint_hash text) returns bigint[]
language plpgsql immutable set search_path = '' as $$
begin
    return array[
        uuid_hash_extended(p_user_id, uuid_hash_extended(p_campaign_id, 1)),
        hashtextextended(p_fingerprint_hash, 2),
        uuid_hash_extended(p_campaign_id, 3)];
end
$$;
call app.grant_definer('app.scan_keys(uuid,uuid,text)', '{}');

-- The calendar window of a limit that a moment falls into, and when it ends. An hour is told by the moment it begins, so
-- that the hour which a clock repeats in autumn is two.
create function app.scan_window(
    p_window text, p_at timestamptz, p_timezone text, out bucket text, out until timestamptz
) language plpgsql immutable set search_path = '' as $$
declare
    local_day timestamp;
begin
    if p_window = 'lifetime' then
        bucket := p_window;
    elsif p_window = 'day' then
        local_day := date_trunc('day', p_at at time zone p_timezone);
        bucket := to_char(local_day, 'YYYY-MM-DD');
        until := (local_day + interval '1 day') at time zone p_timezone;
    elsif p_window = 'hour' then
        until := date_trunc('hour', p_at, p_timezone) + interval '1 hour';
        bucket := to_char((until - interval '1 hour') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI"Z"');
    end if;
end
$$;
call app.grant_definer('app.scan_window(text,timestamptz,text)', '{}');

-- Takes a share of every limit, or of none: then it says which one was full.
create function app.take_shares(
    p_brand_id uuid, p_campaign_id uuid, p_user_id uuid, p_device_id uuid, p_limits app.scan_limits, p_at timestamptz,
    p_timezone text
) returns jsonb language plpgsql set search_path = '' as $$
declare
    of_user record := app.scan_window((p_limits.per_user)."window", p_at, p_timezone);
    of_device record := app.scan_window((p_limits.per_device)."window", p_at, p_timezone);
    of_total record := app.scan_window((p_limits.total)."window", p_at, p_timezone);
    used record;
begin
    if coalesce(of_user.bucket, of_device.bucket, of_total.bucket) is null then
        return null;
    end if;
    select (select c.used from app.scan_counters c where c.campaign_id = p_campaign_id and c.scope = 'user'
                and c.subject = p_user_id and c.bucket = of_user.bucket) as by_user,
        (select c.used from app.scan_counters c where c.campaign_id = p_campaign_id and c.scope = 'device'
                and c.subject = p_device_id and c.bucket = of_device.bucket) as by_device,
        (select c.used from app.scan_counters c where c.campaign_id = p_campaign_id and c.scope = 'campaign'
                and c.subject = p_campaign_id and c.bucket = of_total.bucket) as in_total
    into used;
    if used.by_user >= (p_limits.per_user).count then
        return jsonb_build_object('scope', 'user', 'window', (p_limits.per_user)."window", 'until', of_user.until);
    elsif used.by_device >= (p_limits.per_device).count then
        return jsonb_build_object('scope', 'device', 'window', (p_limits.per_device)."window", 'until', of_device.until);
    elsif used.in_total >= (p_limits.total).count then
        return jsonb_build_object('scope', 'campaign', 'window', (p_limits.total)."window", 'until', of_total.until);
    end if;
    insert into app.scan_counters as c (campaign_id, brand_id, scope, subject, bucket, used)
    select p_campaign_id, p_brand_id, w.scope, w.subject, w.bucket, 1
    from (values ('user', p_user_id, of_user.bucket), ('device', p_device_id, of_device.bucket),
        ('campaign', p_campaign_id, of_total.bucket)) as w (scope, subject, bucket)
    where w.bucket is not null
    on conflict (campaign_id, scope, subject, bucket) do update set used = c.used + 1;
    return null;
end
$$;
call app.grant_definer('app.take_shares(uuid,uuid,uuid,uuid,app.scan_limits,timestamptz,text)', '{}');

-- What a person has to agree to before a scan of theirs can count, and the notice that asks for it.
create function app.consent_asked(p_missing text[], p_locale text) returns jsonb
language plpgsql stable set search_path = '' as $$
begin
    return jsonb_build_object('missing', to_jsonb(p_missing), 'notice', (
        select jsonb_build_object('id', t.id, 'key', t.key, 'version', t.version, 'locale', t.locale)
        from public.consent_notices t
        where t.retired_at is null and t.tiers @> p_missing
        order by t.locale = split_part(p_locale, '-', 1) desc, t.locale = 'en' desc, t.version desc
        limit 1));
end
$$;
call app.grant_definer('app.consent_asked(text[],text)', '{}');

-- Where a scan was made, as far as the campaign has a fence.
create function app.fence_status(
    asked app.scan_request, fence app.scan_fence, out distance_m float8, out status text
) language plpgsql immutable set search_path = '' as $$
begin
    distance_m := extensions.st_distance(
        extensions.st_setsrid(extensions.st_makepoint(asked.lon, asked.lat), 4326)::extensions.geography,
        extensions.st_setsrid(extensions.st_makepoint(fence.lon, fence.lat), 4326)::extensions.geography);
    status := case
        when fence.radius_m is null then 'none'
        when distance_m is null then 'unknown'
        when distance_m + asked.accuracy_m <= fence.radius_m then 'inside'
        when distance_m - asked.accuracy_m > fence.radius_m then 'outside'
        else 'uncertain'
    end;
end
$$;
call app.grant_definer('app.fence_status(app.scan_request,app.scan_fence)', '{}');

-- Why a scan can't count, as far as that doesn't depend on other scans; null if it may.
create function app.scan_reason(
    asked app.scan_request, p_campaign_status text, rules app.scan_rules, p_missing text[], p_fence_status text
) returns text language plpgsql stable set search_path = '' as $$
begin
    return case
        when p_campaign_status in ('Draft', 'Paused') then 'campaign_not_active'
        when p_campaign_status = 'Completed' or asked.scanned_at > rules.ends_at then 'campaign_ended'
        when asked.scanned_at < rules.starts_at then 'campaign_not_active'
        when asked.scanned_at > now() + interval '5 minutes' then 'scan_time_invalid'
        when asked.scanned_at < now() - interval '24 hours' then 'scan_too_old'
        when p_missing <> '{}' then 'consent_required'
        when p_fence_status = 'none' then null
        when p_fence_status = 'unknown' then 'location_required'
        -- A position is a scan's if it was taken close to it in time, whichever came first.
        when abs(extract(epoch from asked.scanned_at - asked.captured_at)) > rules.max_location_age_s
            then 'location_stale'
        when asked.accuracy_m > rules.max_accuracy_m then 'location_inaccurate'
        when p_fence_status = 'outside' then 'geofence_outside'
        when p_fence_status = 'uncertain' and (rules.geofence).when_uncertain = 'reject' then 'geofence_uncertain'
    end;
end
$$;
call app.grant_definer('app.scan_reason(app.scan_request,text,app.scan_rules,text[],text)', '{}');

-- Decides one scan whose keys are held, counts it, stores it and asks for its score.
-- p_limited: the campaigns whose own key is held.
create function app.decide_scan(asked app.scan_request, p_limited uuid[]) returns app.scan_outcome
language plpgsql set search_path = '' as $$
declare
    answer app.scan_outcome;
    known record;
    rules app.scan_rules;
    missing text[];
    fence record;
    details jsonb;
begin
    select alive.yes as alive, alive.locale, c.id as code_id, c.brand_id, c.campaign_id, m.status, m.config,
        coalesce(m.fingerprint_key_version, asked.key_version) as key_version, d.id as device_id, d.last_seen,
        o.id as scan_id, o.request_digest, o.decision, o.reason, o.details, o.scan_time, o.received_at, o.late
    into known
    from (select) as one
    left join lateral (
        select true as yes, u.locale from app.sessions s
            join public.users u on u.id = s.user_id
            join public.roles r on r.id = u.role_id
        where s.id = asked.session_id and s.user_id = asked.user_id and s.revoked_at is null and s.expires_at > now()
            and r.name = asked.user_role and u.brand_id is not distinct from asked.member_of
    ) as alive on true
    left join public.qr_codes c on c.id = asked.code_id and c.disabled_at is null
    left join public.campaigns m on m.id = c.campaign_id
    left join public.qr_scans o on o.campaign_id = c.campaign_id and o.user_id = asked.user_id
        and o.client_scan_id = asked.client_scan_id
    left join public.device_fingerprints d on d.fingerprint_hash = asked.fingerprint_hash;

    rules := jsonb_populate_record(null::app.scan_rules, known.config);
    answer := (asked.n, 'refused', case
        when known.alive is null then 'session_ended'
        when asked.code_id is null then 'bad_token'
        when known.code_id is null then 'unknown_code'
        when known.request_digest <> decode(asked.request_digest, 'hex') then 'client_scan_id_reused'
        -- The fingerprint was hashed for another brand or with another key, or a limit has been set since we locked.
        when (known.brand_id, known.campaign_id, known.key_version) is distinct from
            (asked.brand_id, asked.campaign_id, asked.key_version)
            or (rules.scan_limit).total is not null and known.campaign_id <> all (p_limited) then 'changed_meanwhile'
    end, null, null, known.campaign_id, null, null, null)::app.scan_outcome;
    if answer.reason is not null then
        return answer;
    elsif known.scan_id is not null then
        return (asked.n, known.decision, known.reason, known.details, known.scan_id, known.campaign_id,
            known.scan_time, known.received_at, known.late)::app.scan_outcome;
    end if;

    if known.device_id is null then
        known.device_id := asked.device_id;
        insert into public.device_fingerprints (id, fingerprint_hash, brand_id, key_version)
        values (asked.device_id, asked.fingerprint_hash, known.brand_id, known.key_version);
    elsif known.last_seen < now() - interval '1 minute' then
        update public.device_fingerprints set last_seen = now() where id = known.device_id;
    end if;

    missing := app.missing_consents(asked.user_id, known.brand_id, rules.consent_tiers);
    fence := app.fence_status(asked, rules.geofence);
    answer.reason := app.scan_reason(asked, known.status, rules, missing, fence.status);
    if answer.reason is null then
        details := app.take_shares(known.brand_id, known.campaign_id, asked.user_id, known.device_id, rules.scan_limit,
            asked.scanned_at, rules.timezone);
        answer.reason := case when details ->> 'window' = 'lifetime' then 'cap_exhausted'
            when details is not null then 'limit_reached' end;
    elsif answer.reason = 'consent_required' then
        details := app.consent_asked(missing, coalesce(asked.locale, known.locale));
    end if;
    if fence.status = 'uncertain' then
        details := coalesce(details, '{}') || jsonb_build_object('when_uncertain', (rules.geofence).when_uncertain);
    end if;

    answer := (asked.n, case when answer.reason is null then 'accepted' else 'rejected' end, answer.reason,
        coalesce(details, '{}'), asked.id, known.campaign_id, asked.scanned_at, now(),
        asked.scanned_at < now() - interval '2 minutes')::app.scan_outcome;
    insert into public.qr_scans (id, brand_id, campaign_id, code_id, user_id, device_fp_id, client_scan_id,
        request_digest, location, accuracy_m, captured_at, scan_time, received_at, late, distance_m, geofence_status,
        decision, reason, details, address, user_agent, request_id)
    values (asked.id, known.brand_id, known.campaign_id, known.code_id, asked.user_id, known.device_id,
        asked.client_scan_id, decode(asked.request_digest, 'hex'),
        extensions.st_setsrid(extensions.st_makepoint(asked.lon, asked.lat), 4326)::extensions.geography,
        asked.accuracy_m, asked.captured_at, asked.scanned_at, answer.received_at, answer.late, fence.distance_m,
        fence.status, answer.decision, answer.reason, answer.details, asked.address, asked.user_agent, asked.request_id);
    perform app.add_job(asked.job_id, 'scan.score', jsonb_build_array(asked.id),
        p_subject_type => 'scan', p_subject_id => asked.id::text, p_brand_id => known.brand_id,
        p_request_id => asked.request_id, p_correlation_id => asked.correlation_id, p_traceparent => asked.traceparent);
    return answer;
end
$$;
call app.grant_definer('app.decide_scan(app.scan_request,uuid[])', '{}');

-- The same, and an error fails this scan alone.
create function app.decide_scan_alone(asked app.scan_request, p_limited uuid[]) returns app.scan_outcome
language plpgsql set search_path = '' as $$
declare
    answer app.scan_outcome;
begin
    return app.decide_scan(asked, p_limited);
exception
    when lock_not_available or deadlock_detected then
        return (asked.n, 'refused', 'busy', null, null, null, null, null, null)::app.scan_outcome;
    when others then
        raise log 'scan % failed: % (%)', asked.id, sqlerrm, sqlstate;
        return (asked.n, 'refused', 'failed', null, null, null, null, null, null)::app.scan_outcome;
end
$$;
call app.grant_definer('app.decide_scan_alone(app.scan_request,uuid[])', '{}');

-- Takes a lock for this transaction, or gives up after lock_timeout; what it was waited for in vain is not waited for twice.
create function app.hold_key(p_key bigint, p_patient boolean) returns boolean
language plpgsql set search_path = '' as $$
begin
    if not pg_try_advisory_xact_lock(p_key) then
        if not p_patient then
            return false;
        end if;
        perform pg_advisory_xact_lock(p_key);
    end if;
    return true;
exception when lock_not_available then
    return false;
end
$$;
call app.grant_definer('app.hold_key(bigint,boolean)', '{}');

-- Decides a batch. A key that somebody else holds for too long fails only the scans that need it; so does an error.
-- The planner is told not to trust the statistics of tables that were empty a minute ago.
create function app.record_scans(p_rows jsonb) returns setof app.scan_outcome
language plpgsql security definer set search_path = '' set lock_timeout = '200ms'
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    asked app.scan_request[] := array(select r from jsonb_populate_recordset(null::app.scan_request, p_rows) r order by r.n);
    needed record;
    limited uuid[] := '{}';
    busy bigint[] := '{}';
    answers app.scan_outcome[];
begin
    for needed in
        select distinct k.key, case when k.kind = 3 then m.id end as campaign_id
        from unnest(asked) r
        join public.campaigns m on m.id = r.campaign_id
        cross join lateral unnest(app.scan_keys(r.campaign_id, r.user_id, r.fingerprint_hash)) with ordinality
            as k (key, kind)
        where k.kind < 3 or m.config #> '{scan_limit,total,count}' is not null
        order by k.key
    loop
        limited := limited || needed.campaign_id;
        if not pg_try_advisory_xact_lock(needed.key) and not app.hold_key(needed.key, busy = '{}') then
            busy := busy || needed.key;
        end if;
    end loop;

    begin
        if busy <> '{}' then
            raise lock_not_available;
        end if;
        answers := array(select app.decide_scan(r, limited) from unnest(asked) r);
    exception when others then
        answers := array(
            select case when busy && app.scan_keys(r.campaign_id, r.user_id, r.fingerprint_hash)
                then (r.n, 'refused', 'busy', null, null, null, null, null, null)::app.scan_outcome
                else app.decide_scan_alone(r, limited) end
            from unnest(asked) r);
    end;

    insert into app.scan_refusals as s (day, reason, count)
    select (now() at time zone 'UTC')::date, a.reason, count(*) from unnest(answers) a
    where a.decision = 'refused' and a.reason in ('bad_token', 'unknown_code') group by a.reason order by a.reason
    on conflict (day, reason) do update set count = s.count + excluded.count;
    return query select * from unnest(answers);
end
$$;
call app.grant_definer('app.record_scans(jsonb)', array['app_scan']);
