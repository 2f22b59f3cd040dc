-- Decide scans: app.record_scans takes a batch, decides it in one transaction, and returns an outcome for each scan.
--
-- Advisory locks protect the facts that concurrent batches change. All batches take them in one order: of a person in a
-- campaign (limits, replays), of a device (limits, its own row), and of a campaign with a total limit.

create type app.scan_outcome as (
    n int,                         -- place in the batch, from 1
    decision text,                 -- accepted, rejected; refused: nothing is stored
    reason text,                   -- null: accepted
    details jsonb,
    scan_id uuid,                  -- another id than the request's: that of the stored scan that the request repeats
    campaign_id uuid,
    scanned_at timestamptz,
    received_at timestamptz,
    late boolean,
    is_test boolean                -- received in test mode
);

-- Return the lock keys of a scan: of its person in the campaign, of its device, and of the campaign.
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

-- Return the scope, the window and the end of a full limit, for the answer.
create function app.describe_limit(p_scope text, p_limit app.scan_limit, p_at timestamptz, p_timezone text)
returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object('scope', p_scope, 'window', p_limit."window", 'until', case p_limit."window"
        -- The next midnight of the zone: a day has 23 or 25 hours when clocks change.
        when 'day' then (date_trunc('day', p_at at time zone p_timezone) + interval '1 day') at time zone p_timezone
        when 'hour' then date_trunc('hour', p_at, p_timezone) + interval '1 hour'
    end);
end
$$;
call app.grant_definer('app.describe_limit(text,app.scan_limit,timestamptz,text)', '{}');

-- Return the time from which scans count again, for the answer to a scan outside the weekly windows.
create function app.describe_opening(p_rules app.scan_rules) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object('opens_at',
        app.next_opening(now(), p_rules.scan_windows, p_rules.timezone, p_rules.ends_at));
end
$$;
call app.grant_definer('app.describe_opening(app.scan_rules)', '{}');

-- Return the consents that a person still has to give before a scan counts, and the notice that contains them.
create function app.describe_missing_consents(p_user_id uuid, p_brand_id uuid, p_rules app.scan_rules, p_locale text)
returns jsonb language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return jsonb_build_object(
        'missing', app.missing_consents(p_user_id, p_brand_id, p_rules.consent_tiers),
        'notice', (
            select jsonb_build_object('id', n.id, 'key', n.key, 'version', n.version, 'locale', n.locale)
            from public.consent_notices n where n.id = app.notice_in_force(p_rules.notice_key, array[p_locale])));
end
$$;
call app.grant_definer('app.describe_missing_consents(uuid,uuid,app.scan_rules,text)', '{}');

-- Scans of this batch that were added to each limit so far, indexed by the batch's first scan with the same counter.
create type app.batch_counts as (of_user int[], of_device int[], of_all int[]);

-- Describe the first limit that has no scan left; null: none is full.
create function app.find_full_limit(f app.scan_facts, p_counts app.batch_counts) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
    limits constant app.scan_limits := (f.rules).scan_limit;
begin
    return case
        when f.user_left <= coalesce(p_counts.of_user[f.user_first], 0)
            then app.describe_limit('user', limits.per_user, now(), (f.rules).timezone)
        when f.device_left <= coalesce(p_counts.of_device[f.device_first], 0)
            then app.describe_limit('device', limits.per_device, now(), (f.rules).timezone)
        when f.total_left <= coalesce(p_counts.of_all[f.total_first], 0)
            then app.describe_limit('campaign', limits.total, now(), (f.rules).timezone)
    end;
end
$$;
call app.grant_definer('app.find_full_limit(app.scan_facts,app.batch_counts)', '{}');

-- Set the reason and the details of a scan that is refused without being stored. The detail `incomplete` keeps the
-- refusal out of the audit trail: nothing personal is stored for any reason.
create function app.refuse_scan(p_request app.scan_request, inout f app.scan_facts)
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    f.details := case when f.refusal is not null then '{}'
        when f.reason = 'consent_required'
            then app.describe_missing_consents(p_request.user_id, p_request.brand_id, f.rules, f.locale)
        when f.reason = 'scan_window_closed' then app.describe_opening(f.rules)
        else '{}' end
        || case when f.incomplete then '{"incomplete": true}' else '{}' end::jsonb;
    f.reason := coalesce(f.refusal, f.reason);
end
$$;
call app.grant_definer('app.refuse_scan(app.scan_request,app.scan_facts)', '{}');

-- Decide scans whose keys are locked, one after the other, and store them.
-- p_limited: the campaigns whose own key is locked.
create function app.decide_scans(p_requests app.scan_request[], p_limited uuid[]) returns setof app.scan_outcome
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    f app.scan_facts;
    r app.scan_request;
    decided app.scan_facts[] := '{}';
    refused app.scan_facts[] := '{}';
    counts app.batch_counts := ('{}', '{}', '{}');
    full_limit jsonb;
begin
    for f in select * from app.load_scan_facts(p_requests, p_limited) loop
        r := p_requests[f.n];

        -- A replay: return the outcome of the stored scan again.
        if f.refusal is null and f.earlier_id is not null then
            return query select f.n, s.decision, s.reason, s.details, s.id, s.campaign_id, s.scan_time, s.received_at,
                s.late, s.is_test from public.qr_scans s where s.id = f.earlier_id;
            continue;
        end if;

        -- A refusal that is not stored.
        if f.refusal is not null or f.incomplete then
            f := app.refuse_scan(r, f);
            refused := refused || f;
            return next (f.n, 'refused', f.reason, f.details, null, null, null, null, null, null)::app.scan_outcome;
            continue;
        end if;

        -- Limits apply to scans that would be accepted. A scan counts in all limits or, in test mode, in none.
        if f.reason is null and not f.is_test
                and coalesce(f.user_window, f.device_window, f.total_window) is not null then
            full_limit := app.find_full_limit(f, counts);
            if full_limit is not null then
                f.details := f.details || full_limit;
                f.reason := case full_limit ->> 'window' when 'lifetime' then 'cap_exhausted' else 'limit_reached' end;
            else
                counts.of_user[f.user_first] := coalesce(counts.of_user[f.user_first], 0) + 1;
                counts.of_device[f.device_first] := coalesce(counts.of_device[f.device_first], 0) + 1;
                counts.of_all[f.total_first] := coalesce(counts.of_all[f.total_first], 0) + 1;
            end if;
        end if;

        if f.reason = 'scan_window_closed' then
            f.details := f.details || app.describe_opening(f.rules);
        end if;
        decided := decided || f;
        return next (f.n, case when f.reason is null then 'accepted' else 'rejected' end, f.reason, f.details, r.id,
            r.campaign_id, r.scanned_at, now(), app.is_late(r.scanned_at), f.is_test)::app.scan_outcome;
    end loop;
    perform app.store_scans(p_requests, decided, refused);
end
$$;
call app.grant_definer('app.decide_scans(app.scan_request[],uuid[])', '{}');

-- Decide one scan. An error becomes the outcome of this scan alone. p_busy: keys whose locks could not be acquired.
create function app.decide_single_scan(p_request app.scan_request, p_limited uuid[], p_busy bigint[])
returns app.scan_outcome language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    outcome app.scan_outcome;
begin
    if p_busy && app.scan_keys(p_request.campaign_id, p_request.user_id, p_request.fingerprint_hash) then
        raise lock_not_available;
    end if;
    select * into outcome from app.decide_scans(array[p_request], p_limited);
    return outcome;
exception
    when lock_not_available or deadlock_detected then
        return (1, 'refused', 'busy', null, null, null, null, null, null, null)::app.scan_outcome;
    when others then
        raise log 'scan % failed: % (%)', p_request.id, sqlerrm, sqlstate;
        return (1, 'refused', 'failed', null, null, null, null, null, null, null)::app.scan_outcome;
end
$$;
call app.grant_definer('app.decide_single_scan(app.scan_request,uuid[],bigint[])', '{}');

-- Acquire a lock until the transaction ends. Return false after lock_timeout, or at once without p_wait.
create function app.acquire_scan_key(p_key bigint, p_wait boolean) returns boolean
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
call app.grant_definer('app.acquire_scan_key(bigint,boolean)', '{}');

-- Lock the keys of a batch in sorted order: two batches would deadlock otherwise.
-- limited: the campaigns whose own key is locked. busy: keys whose locks could not be acquired.
create function app.lock_scan_keys(p_requests app.scan_request[], out limited uuid[], out busy bigint[])
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    needed record;
begin
    limited := '{}';
    busy := '{}';
    for needed in
        select distinct k.key, case when k.kind = 3 then m.id end as campaign_id
        from unnest(p_requests) r
        cross join lateral (select x.id, x.scan_config from public.campaigns x where x.id = r.campaign_id offset 0) m
        cross join lateral unnest(app.scan_keys(r.campaign_id, r.user_id, r.fingerprint_hash)) with ordinality
            as k (key, kind)
        where k.kind < 3 or m.scan_config #> '{scan_limit,total,count}' is not null
        order by k.key
    loop
        -- No nulls: `<> all` in app.load_scan_facts would not notice a campaign that is not locked.
        if needed.campaign_id is not null then
            limited := limited || needed.campaign_id;
        end if;
        -- Wait for one lock at most: the whole batch waits with it.
        if not pg_try_advisory_xact_lock(needed.key) and not app.acquire_scan_key(needed.key, busy = '{}') then
            busy := busy || needed.key;
        end if;
    end loop;
end
$$;
call app.grant_definer('app.lock_scan_keys(app.scan_request[])', '{}');

-- Decide a batch. A key that another transaction holds for longer than lock_timeout fails only the scans that need it.
-- So does an error: the batch is rolled back, and each scan is decided again by itself. The same holds if a batch
-- contains the same scan twice, which violates a unique index.
create function app.record_scans(p_rows jsonb) returns setof app.scan_outcome
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms'
set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    requests app.scan_request[] := array(select r from jsonb_populate_recordset(null::app.scan_request, p_rows) r);
    keys record;
    outcomes app.scan_outcome[];
begin
    keys := app.lock_scan_keys(requests);

    -- Decide the batch as a whole.
    begin
        if keys.busy <> '{}' then
            raise lock_not_available;
        end if;
        outcomes := array(select d from app.decide_scans(requests, keys.limited) d order by d.n);
    -- Decide each scan by itself.
    exception when others then
        outcomes := array(select app.decide_single_scan(r, keys.limited, keys.busy) from unnest(requests) r);
    end;

    return query select d.ordinality::int, d.decision, d.reason, d.details, d.scan_id, d.campaign_id, d.scanned_at,
        d.received_at, d.late, d.is_test from unnest(outcomes) with ordinality d;
end
$$;
call app.grant_definer('app.record_scans(jsonb)', array['app_scan']);
