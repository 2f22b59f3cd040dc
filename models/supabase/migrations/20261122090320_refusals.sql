-- Refusals in the audit trail. Each is recorded in its own transaction, for known and unknown callers.

-- Return whether a record exists, and the brand and person that it belongs to. Only the audit trail may use the result:
-- a caller must not learn which records exist. p_table is a table that a route names.
create function app.find_record_owner(
    p_table text, p_id uuid, out is_found boolean, out brand_id uuid, out user_id uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    relation regclass;
    found_row jsonb;
begin
    is_found := false;
    -- A finished job is in app.job_history.
    foreach relation in array array_remove(array[
        to_regclass(format('public.%I', p_table)), to_regclass(format('app.%I', p_table)),
        case p_table when 'jobs' then 'app.job_history'::regclass end], null)
    loop
        execute format('select to_jsonb(t) from %s t where t.id = $1', relation) into found_row using p_id;
        exit when found_row is not null;
    end loop;
    if found_row is null then
        return;
    end if;
    is_found := true;
    brand_id := case p_table when 'brands' then p_id else (found_row ->> 'brand_id')::uuid end;
    user_id := case p_table when 'users' then p_id else (found_row ->> 'user_id')::uuid end;
end
$$;
call app.grant_definer('app.find_record_owner(text,uuid)', '{}');

-- Record the refusal of a request. Return whether an entry was written.
--   p_actor   claims of the presented token or key, if it is one of ours; its session may have ended
--   p_request {"request_id", "address", "user_agent"}
-- A record that was not found is worth an entry only if it exists and belongs to another person: as `out_of_reach`. If
-- it belongs to another brand, the entry goes to the platform's chain, because an entry in the caller's chain would
-- show the caller's brand that the record exists.
create function app.record_refusal(
    p_id uuid, p_action text, p_reason text, p_actor jsonb, p_table text, p_record_id uuid, p_record_key text,
    p_details jsonb, p_request jsonb
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    actor uuid := (p_actor ->> 'sub')::uuid;
    brand uuid := (p_actor #>> '{app_metadata,brand_id}')::uuid;
    owner record;
    entry public.audit_logs;
begin
    if p_reason = 'not_found' and not p_details ? 'count' then
        owner := app.find_record_owner(p_table, p_record_id);
        if not owner.is_found or owner.user_id = actor then
            return false;
        end if;
        p_reason := 'out_of_reach';
        if owner.brand_id is distinct from brand then
            p_details := p_details || jsonb_strip_nulls(jsonb_build_object('owner', owner.brand_id));
            brand := null;
        end if;
    end if;
    entry := app.new_audit_entry(p_id, p_action, p_table, p_record_id, p_record_key, p_details, 'refused', p_reason,
        p_request ->> 'request_id');
    entry.user_id := actor;
    entry.brand_id := brand;
    entry.actor_role := p_actor #>> '{app_metadata,user_role}';
    entry.session_id := (p_actor ->> 'session_id')::uuid;
    perform app.insert_audit_entry(entry, p_request ->> 'address', p_request ->> 'user_agent');
    return true;
end
$$;
call app.grant_definer('app.record_refusal(uuid,text,text,jsonb,text,uuid,text,jsonb,jsonb)', array['app_public']);
