-- The decision on scans: app.record_scans takes a batch, in one transaction, and answers for each row of it.
--
-- What a decision depends on and others change at the same time is locked first, in one order for all batches:
-- a person in a campaign (limits, replays), a device (limits, its own row), and a campaign with a total limit.

create type app.scan_outcome as (
    n int,                         -- place in the batch, from 1
    decision text,                 -- accepted, rejected; refused: nothing is stored
    reason text,                   -- null: accepted
    details jsonb,
    scan_id uuid,                  -- another id than the request's: an earlier request has been answered again
    campaign_id uuid,
    scanned_at timestamptz,
    received_at timestamptz,
    late boolean
);

-- The keys of one scan: its person in the campaign, its device, and the campaign.
create function app.scan_keys(p_campaign_id uuid, p_user_id uuid, p_fingerprint_hash text) returns bigint[]
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return array[
        uuid_hash_extended(p_user_id, uuid_hash_extended(p_campaign_id, 1)),
        hashtextextended(p_fingerprint_hash, 2),
        uuid_hash_extended(p_campaign_id, 3)];
end
$$;
call app.grant_definer('app.scan_keys(uuid,uuid,text)', '{}');

-- Which limit is full, and until when.
create function app.limit_reached(p_scope text, p_limit app.scan_limit, p_at timestamptz, p_timezone text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object('scope', p_scope, 'window', p_limit."window", 'until', case p_limit."window"
        when 'day' then (date_trunc('day', p_at at time zone p_timezone) + interval '1 day') at time zone p_timezone
        when 'hour' then date_trunc('hour', p_at, p_timezone) + interval '1 hour'
    end);
end
$$;
call app.grant_definer('app.limit_reached(text,app.scan_limit,timestamptz,text)', '{}');

-- Return the consents that a person still has to give before a scan counts, and the notice that asks for them.
create function app.consent_asked(p_user_id uuid, p_brand_id uuid, p_rules app.scan_rules, p_locale text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object(
        'missing', app.missing_consents(p_user_id, p_brand_id, p_rules.consent_tiers),
        'notice', (
            select jsonb_build_object('id', n.id, 'key', n.key, 'version', n.version, 'locale', n.locale)
            from public.consent_notices n where n.id = app.notice_in_force(p_rules.notice_key, array[p_locale])));
end
$$;
call app.grant_definer('app.consent_asked(uuid,uuid,app.scan_rules,text)', '{}');

-- Stores decided scans, and asks for their scores.
create function app.store_scans(p_asked app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.qr_scans (id, brand_id, campaign_id, code_id, user_id, device_fp_id, client_scan_id,
        request_digest, location, accuracy_m, captured_at, scan_time, late, new_device, distance_m, geofence_status,
        decision, reason, details, address, user_agent, request_id)
    select r.id, r.brand_id, r.campaign_id, r.code_id, r.user_id, d.device_id, r.client_scan_id,
        decode(r.request_digest, 'hex'), app.place(r.lat, r.lon), r.accuracy_m, r.captured_at, r.scanned_at,
        r.scanned_at < now() - interval '2 minutes', d.device_seen is null, d.distance_m, d.fence,
        case when d.reason is null then 'accepted' else 'rejected' end, d.reason, d.details, r.address, r.user_agent,
        r.request_id
    from unnest(p_decided) d join unnest(p_asked) with ordinality r on r.ordinality = d.n;

    perform app.add_job(r.job_id, 'scan.score', jsonb_build_array(r.id), p_subject_type => 'scan',
        p_subject_id => r.id::text, p_brand_id => r.brand_id, p_request_id => r.request_id,
        p_correlation_id => r.correlation_id, p_traceparent => r.traceparent)
    from unnest(p_decided) d join unnest(p_asked) with ordinality r on r.ordinality = d.n;
end
$$;
call app.grant_definer('app.store_scans(app.scan_request[],app.scan_facts[])', '{}');

-- Counts the shares of limits that accepted scans take.
create function app.count_shares(p_asked app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.scan_counters as c (campaign_id, brand_id, scope, subject, bucket, used)
    select r.campaign_id, r.brand_id, share.scope, share.subject, share.bucket, count(*)
    from unnest(p_decided) d join unnest(p_asked) with ordinality r on r.ordinality = d.n
    cross join lateral (values ('user', r.user_id, d.user_window), ('device', d.device_id, d.device_window),
        ('campaign', r.campaign_id, d.total_window)) as share (scope, subject, bucket)
    where d.reason is null and share.bucket is not null
    group by 1, 2, 3, 4, 5
    on conflict (campaign_id, scope, subject, bucket) do update set used = c.used + excluded.used;
end
$$;
call app.grant_definer('app.count_shares(app.scan_request[],app.scan_facts[])', '{}');

-- Notes the devices of decided scans; of those that were seen within the last minute there is nothing to note.
create function app.note_devices(p_asked app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.device_fingerprints (id, fingerprint_hash, brand_id, key_version)
    select distinct d.device_id, r.fingerprint_hash, r.brand_id, r.key_version
    from unnest(p_decided) d join unnest(p_asked) with ordinality r on r.ordinality = d.n
    where d.device_seen is null;
    update public.device_fingerprints set last_seen = now() where id = any (
        array(select d.device_id from unnest(p_decided) d where d.device_seen < now() - interval '1 minute'));
end
$$;
call app.grant_definer('app.note_devices(app.scan_request[],app.scan_facts[])', '{}');

-- Count the unstored refusals of a batch: one row for each campaign and reason.
create function app.count_refusals(p_asked app.scan_request[], p_refused app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.scan_refusals (brand_id, campaign_id, hour, reason, n)
    select r.brand_id, r.campaign_id, date_trunc('hour', now(), 'UTC'), f.reason, count(*)
    from unnest(p_refused) f join unnest(p_asked) with ordinality r on r.ordinality = f.n
    group by r.brand_id, r.campaign_id, f.reason;
end
$$;
call app.grant_definer('app.count_refusals(app.scan_request[],app.scan_facts[])', '{}');

-- Shares that earlier scans of a batch have taken, by the first scan of the batch that wanted one.
create type app.batch_shares as (of_user int[], of_device int[], of_all int[]);

-- Return the limit that leaves no share for a scan, and its end; null: none.
create function app.full_limit(f app.scan_facts, p_taken app.batch_shares) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    limits constant app.scan_limits := (f.rules).scan_limit;
begin
    return case
        when f.user_left <= coalesce(p_taken.of_user[f.user_first], 0)
            then app.limit_reached('user', limits.per_user, now(), (f.rules).timezone)
        when f.device_left <= coalesce(p_taken.of_device[f.device_first], 0)
            then app.limit_reached('device', limits.per_device, now(), (f.rules).timezone)
        when f.total_left <= coalesce(p_taken.of_all[f.total_first], 0)
            then app.limit_reached('campaign', limits.total, now(), (f.rules).timezone)
    end;
end
$$;
call app.grant_definer('app.full_limit(app.scan_facts,app.batch_shares)', '{}');

-- Store the results of the decisions on a batch.
create function app.keep_decisions(p_asked app.scan_request[], p_decided app.scan_facts[], p_refused app.scan_facts[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_decided <> '{}' then
        perform app.note_devices(p_asked, p_decided);
        perform app.count_shares(p_asked, p_decided);
        perform app.store_scans(p_asked, p_decided);
    end if;
    if p_refused <> '{}' then
        perform app.count_refusals(p_asked, p_refused);
    end if;
end
$$;
call app.grant_definer('app.keep_decisions(app.scan_request[],app.scan_facts[],app.scan_facts[])', '{}');

-- Decide scans whose keys are held, one after the other, and store them.
-- p_limited: the campaigns whose own key is held.
create function app.decide_scans(p_asked app.scan_request[], p_limited uuid[]) returns setof app.scan_outcome
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    f app.scan_facts;
    r app.scan_request;
    decided app.scan_facts[] := '{}';
    refused app.scan_facts[] := '{}';
    taken app.batch_shares := ('{}', '{}', '{}');
    full_limit jsonb;
begin
    for f in select * from app.scan_facts(p_asked, p_limited) loop
        r := p_asked[f.n];
        if f.refusal is null and f.earlier_id is not null then
            return query select f.n, s.decision, s.reason, s.details, s.id, s.campaign_id, s.scan_time, s.received_at,
                s.late from public.qr_scans s where s.id = f.earlier_id;
            continue;
        elsif f.refusal is not null or f.incomplete then
            -- Store nothing about the person for any reason, here or in the audit trail.
            f.details := case when f.refusal is null and f.reason = 'consent_required'
                then app.consent_asked(r.user_id, r.brand_id, f.rules, f.locale) else '{}' end
                || case when f.incomplete then '{"incomplete": true}' else '{}' end::jsonb;
            f.reason := coalesce(f.refusal, f.reason);
            if f.incomplete or f.reason in ('bad_token', 'unknown_code') then
                refused := refused || f;
            end if;
            return next (f.n, 'refused', f.reason, f.details, null, null, null, null, null)::app.scan_outcome;
            continue;
        elsif f.reason is null and coalesce(f.user_window, f.device_window, f.total_window) is not null then
            full_limit := app.full_limit(f, taken);
            if full_limit is not null then
                f.details := f.details || full_limit;
                f.reason := case full_limit ->> 'window' when 'lifetime' then 'cap_exhausted' else 'limit_reached' end;
            else
                taken.of_user[f.user_first] := coalesce(taken.of_user[f.user_first], 0) + 1;
                taken.of_device[f.device_first] := coalesce(taken.of_device[f.device_first], 0) + 1;
                taken.of_all[f.total_first] := coalesce(taken.of_all[f.total_first], 0) + 1;
            end if;
        end if;
        decided := decided || f;
        return next (f.n, case when f.reason is null then 'accepted' else 'rejected' end, f.reason, f.details, r.id,
            r.campaign_id, r.scanned_at, now(), r.scanned_at < now() - interval '2 minutes')::app.scan_outcome;
    end loop;
    perform app.keep_decisions(p_asked, decided, refused);
end
$$;
call app.grant_definer('app.decide_scans(app.scan_request[],uuid[])', '{}');

-- Decides one scan; whatever goes wrong is its own affair. p_busy: keys that could not be had.
create function app.decide_alone(r app.scan_request, p_limited uuid[], p_busy bigint[]) returns app.scan_outcome
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    outcome app.scan_outcome;
begin
    if p_busy && app.scan_keys(r.campaign_id, r.user_id, r.fingerprint_hash) then
        raise lock_not_available;
    end if;
    select * into outcome from app.decide_scans(array[r], p_limited);
    return outcome;
exception
    when lock_not_available or deadlock_detected then
        return (1, 'refused', 'busy', null, null, null, null, null, null)::app.scan_outcome;
    when others then
        raise log 'scan % failed: % (%)', r.id, sqlerrm, sqlstate;
        return (1, 'refused', 'failed', null, null, null, null, null, null)::app.scan_outcome;
end
$$;
call app.grant_definer('app.decide_alone(app.scan_request,uuid[],bigint[])', '{}');

-- Takes a lock for this transaction, or gives up after lock_timeout, or at once.
create function app.hold_key(p_key bigint, p_wait boolean) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_wait then
        perform pg_advisory_xact_lock(p_key);
    end if;
    return p_wait;
exception when lock_not_available then
    return false;
end
$$;
call app.grant_definer('app.hold_key(bigint,boolean)', '{}');

-- Decides a batch. A key that somebody else holds for too long fails only the scans that need it; so does an error: it
-- undoes what was done so far, and everything is decided once more, each scan by itself. So it is, too, where the same
-- scan is in the batch twice: that violates a unique index.
create function app.record_scans(p_rows jsonb) returns setof app.scan_outcome
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    asked app.scan_request[] := array(select r from jsonb_populate_recordset(null::app.scan_request, p_rows) r);
    needed record;
    limited uuid[] := '{}';
    busy bigint[] := '{}';
    outcomes app.scan_outcome[];
begin
    for needed in
        select distinct k.key, case when k.kind = 3 then m.id end as campaign_id
        from unnest(asked) r
        cross join lateral (select x.id, x.config from public.campaigns x where x.id = r.campaign_id offset 0) m
        cross join lateral unnest(app.scan_keys(r.campaign_id, r.user_id, r.fingerprint_hash)) with ordinality
            as k (key, kind)
        where k.kind < 3 or m.config #> '{scan_limit,total,count}' is not null
        order by k.key
    loop
        limited := limited || needed.campaign_id;
        -- After one wait in vain, no more waiting: the whole batch would be late.
        if not pg_try_advisory_xact_lock(needed.key) and not app.hold_key(needed.key, busy = '{}') then
            busy := busy || needed.key;
        end if;
    end loop;

    begin
        if busy <> '{}' then
            raise lock_not_available;
        end if;
        outcomes := array(select d from app.decide_scans(asked, limited) d order by d.n);
    exception when others then
        outcomes := array(select app.decide_alone(r, limited, busy) from unnest(asked) r);
    end;

    return query select d.ordinality::int, d.decision, d.reason, d.details, d.scan_id, d.campaign_id, d.scanned_at,
        d.received_at, d.late from unnest(outcomes) with ordinality d;
end
$$;
call app.grant_definer('app.record_scans(jsonb)', array['app_scan']);
