-- Check-ins of fans by their own scan of an event's code. Codes of the event hang at its entrance.

-- Request the check-in of the caller by a scan, with the job of the brand that decides it. The caller's ticket is used
-- if there is a valid one. Return the id of the check-in: the one of the scan, if there is one already.
create function app.request_own_check_in(
    p_id uuid, p_campaign_id uuid, p_scan_id uuid, p_lifetime interval, p_job_id uuid, p_request jsonb
) returns uuid language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    event public.campaigns := app.require_event(p_campaign_id);
    caller uuid := (app.claims() ->> 'sub')::uuid;
    scan app.real_scans;
begin
    select s.* into scan from app.real_scans s
    where s.id = p_scan_id and s.user_id = caller and s.campaign_id = p_campaign_id and s.decision = 'accepted'
        and s.scan_time >= now() - p_lifetime;
    if scan.id is null then
        perform app.refuse(409, 'scan_required', '');
    end if;
    insert into public.check_ins (id, brand_id, campaign_id, ticket_id, user_id, scan_id, scanned_at, job_id)
    select p_id, event.brand_id, event.id, (
            select t.id from public.tickets t
            where t.brand_id = event.brand_id and t.campaign_id = event.id and t.user_id = caller
                and t.state = 'issued'),
        caller, scan.id, scan.scan_time, p_job_id
    on conflict (brand_id, scan_id) do nothing;
    if found then
        perform app.add_event_job(p_job_id, 'check_in.decide', 'check_in', p_id, event.brand_id, caller, p_request);
        return p_id;
    end if;
    return (select i.id from public.check_ins i where i.brand_id = event.brand_id and i.scan_id = p_scan_id);
end
$$;
call app.grant_definer('app.request_own_check_in(uuid,uuid,uuid,interval,uuid,jsonb)',
    array['app_fan', 'authenticated', 'app_admin']);

-- Return a check-in of the caller.
create function app.own_check_in(p_id uuid) returns setof public.check_ins
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select i.* from public.check_ins i
    where i.id = p_id and i.scan_id is not null and i.user_id = (app.claims() ->> 'sub')::uuid;
end
$$;
call app.grant_definer('app.own_check_in(uuid)', array['app_fan', 'authenticated', 'app_admin']);
