-- Store the results of a batch: devices, limit counters, scans with their scoring jobs, and counts of refusals.
-- p_requests: the whole batch. p_decided: the scans to store; a null reason means accepted.

-- Insert the new devices of a batch. Move last_seen of the others, at most once a minute, to save writes. A device that
-- was seen in test mode only has no last_seen: it stays new.
create function app.store_devices(p_requests app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.device_fingerprints (id, fingerprint_hash, brand_id, key_version, last_seen)
    select d.device_id, r.fingerprint_hash, r.brand_id, r.key_version, case when bool_or(not d.is_test) then now() end
    from unnest(p_decided) d join unnest(p_requests) with ordinality r on r.ordinality = d.n
    where d.device_last_seen is null
    group by 1, 2, 3, 4
    on conflict (fingerprint_hash) do update set first_seen = now(), last_seen = excluded.last_seen;
    update public.device_fingerprints set last_seen = now() where id = any (array(
        select d.device_id from unnest(p_decided) d
        where not d.is_test and d.device_last_seen < now() - interval '1 minute'));
end
$$;
call app.grant_definer('app.store_devices(app.scan_request[],app.scan_facts[])', '{}');

-- Add the accepted scans to their limit counters. Callers hold the locks of all keys, so no row lock can deadlock.
create function app.count_limits(p_requests app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.limit_counters as c (campaign_id, brand_id, scope, subject, bucket, used)
    select r.campaign_id, r.brand_id, counter.scope, counter.subject, counter.bucket, count(*)
    from unnest(p_decided) d join unnest(p_requests) with ordinality r on r.ordinality = d.n
    cross join lateral (values ('user', r.user_id, d.user_window), ('device', d.device_id, d.device_window),
        ('campaign', r.campaign_id, d.total_window)) as counter (scope, subject, bucket)
    where d.reason is null and not d.is_test and counter.bucket is not null
    group by 1, 2, 3, 4, 5
    on conflict (campaign_id, scope, subject, bucket) do update set used = c.used + excluded.used;
end
$$;
call app.grant_definer('app.count_limits(app.scan_request[],app.scan_facts[])', '{}');

-- Insert the scans and enqueue the scoring of those that count.
create function app.insert_scans(p_requests app.scan_request[], p_decided app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.qr_scans (id, brand_id, campaign_id, code_id, user_id, device_fp_id, client_scan_id,
        request_digest, location, accuracy_m, captured_at, scan_time, late, new_device, is_test, distance_m,
        geofence_status, decision, reason, details, address, user_agent, request_id)
    select r.id, r.brand_id, r.campaign_id, r.code_id, r.user_id, d.device_id, r.client_scan_id,
        decode(r.request_digest, 'hex'), app.place(r.lat, r.lon), r.accuracy_m, r.captured_at, r.scanned_at,
        app.is_late(r.scanned_at), d.device_last_seen is null and not d.is_test, d.is_test, d.distance_m,
        d.geofence_status, case when d.reason is null then 'accepted' else 'rejected' end, d.reason, d.details,
        r.address, r.user_agent, r.request_id
    from unnest(p_decided) d join unnest(p_requests) with ordinality r on r.ordinality = d.n;

    perform app.add_job(r.job_id, 'scan.score', jsonb_build_array(r.id), p_subject_type => 'scan',
        p_subject_id => r.id::text, p_brand_id => r.brand_id, p_request_id => r.request_id,
        p_correlation_id => r.correlation_id, p_traceparent => r.traceparent)
    from unnest(p_decided) d join unnest(p_requests) with ordinality r on r.ordinality = d.n
    where not d.is_test;
end
$$;
call app.grant_definer('app.insert_scans(app.scan_request[],app.scan_facts[])', '{}');

-- Count the incomplete scans and the unknown codes of a batch: one row for each campaign and reason. Other refusals
-- (a session that has ended, a request to repeat) are not counted. Nothing is counted in test mode: the campaign is
-- looked up, because the facts of a disabled code have no rules.
create function app.count_refusals(p_requests app.scan_request[], p_refused app.scan_facts[]) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.scan_refusals (brand_id, campaign_id, hour, reason, n)
    select r.brand_id, r.campaign_id, date_trunc('hour', now(), 'UTC'), f.reason, count(*)
    from unnest(p_refused) f join unnest(p_requests) with ordinality r on r.ordinality = f.n
    where (f.incomplete or f.reason in ('bad_token', 'unknown_code')) and not coalesce((
        select (m.scan_config -> 'test_mode')::boolean from public.campaigns m where m.id = r.campaign_id), false)
    group by r.brand_id, r.campaign_id, f.reason;
end
$$;
call app.grant_definer('app.count_refusals(app.scan_request[],app.scan_facts[])', '{}');

-- Store the results of a batch.
create function app.store_scans(p_requests app.scan_request[], p_decided app.scan_facts[], p_refused app.scan_facts[])
returns void language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if p_decided <> '{}' then
        perform app.store_devices(p_requests, p_decided);
        perform app.count_limits(p_requests, p_decided);
        perform app.insert_scans(p_requests, p_decided);
    end if;
    if p_refused <> '{}' then
        perform app.count_refusals(p_requests, p_refused);
    end if;
end
$$;
call app.grant_definer('app.store_scans(app.scan_request[],app.scan_facts[],app.scan_facts[])', '{}');
