-- Refusals in the audit trail: written by themselves, whoever was refused, known or not, alive or not.

-- Whose a record is. Nobody is told but the trail; tables are those that our routes name.
create function app.owner_of(p_table text, p_id uuid, out is_there boolean, out brand_id uuid, out user_id uuid)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    relation regclass;
    found_row jsonb;
begin
    is_there := false;
    -- A job that is over is kept elsewhere.
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
    is_there := true;
    brand_id := case p_table when 'brands' then p_id else (found_row ->> 'brand_id')::uuid end;
    user_id := case p_table when 'users' then p_id else (found_row ->> 'user_id')::uuid end;
end
$$;
call app.grant_definer('app.owner_of(text,uuid)', '{}');

-- Writes that somebody was refused; whether it did.
--   p_actor   the claims of the token or key that was shown, if it was one of ours; its session may have ended
--   p_request {"request_id", "address", "user_agent"}
-- What is not found is written only if it is there, and somebody else's: as `out_of_reach`. If it is no record of the
-- actor's brand, that goes into the platform's chain: the brand's own would tell what there is elsewhere.
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
        owner := app.owner_of(p_table, p_record_id);
        if not owner.is_there or owner.user_id = actor then
            return false;
        end if;
        p_reason := 'out_of_reach';
        if owner.brand_id is distinct from brand then
            p_details := p_details || jsonb_strip_nulls(jsonb_build_object('owner', owner.brand_id));
            brand := null;
        end if;
    end if;
    entry.id := p_id;
    entry.user_id := actor;
    entry.action := p_action;
    entry.table_name := p_table;
    entry.record_id := p_record_id;
    entry.record_key := p_record_key;
    entry.details := p_details;
    entry.brand_id := brand;
    entry.actor_role := p_actor #>> '{app_metadata,user_role}';
    entry.session_id := (p_actor ->> 'session_id')::uuid;
    entry.outcome := 'refused';
    entry.reason := p_reason;
    entry.request_id := p_request ->> 'request_id';
    perform app.insert_audit(entry, p_request ->> 'address', p_request ->> 'user_agent');
    return true;
end
$$;
call app.grant_definer('app.record_refusal(uuid,text,text,jsonb,text,uuid,text,jsonb,jsonb)', array['app_public']);
