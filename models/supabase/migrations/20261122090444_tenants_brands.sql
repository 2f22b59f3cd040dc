-- Archive and restore a brand.

-- Return whether the caller's brand is live, and lock its row FOR SHARE until the transaction ends: archiving waits for
-- it, so no campaign goes live in a brand that is being archived. Call before any campaign is locked: archiving locks
-- the brand first and then its campaigns.
create function app.brand_is_live_for_share() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    live boolean;
begin
    select b.archived_at is null into live from public.brands b
    where b.id = (app.claims() #>> '{app_metadata,brand_id}')::uuid for share;
    return coalesce(live, false);
end
$$;
call app.grant_definer('app.brand_is_live_for_share()', array['authenticated', 'app_job']);

-- Archive a brand: end its members' sessions, refuse their sign-ins and pause its active campaigns. Return the ids of
-- the campaigns that were paused.
create function app.archive_brand(p_brand_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    paused uuid[];
begin
    perform app.require_brand(p_brand_id, 'brands:write');
    update public.brands b set archived_at = now(), updated_at = now(), version = b.version + 1
    where b.id = p_brand_id and b.archived_at is null;
    if not found then
        return '{}';
    end if;
    update app.sessions s set revoked_at = now()
    from public.users u where u.brand_id = p_brand_id and s.user_id = u.id and s.revoked_at is null;
    with halted as (
        update public.campaigns c
        set status = 'Paused', paused_with_brand = true, updated_at = now(), version = c.version + 1
        where c.brand_id = p_brand_id and c.status = 'Active' returning c.id
    )
    select coalesce(array_agg(h.id order by h.id), '{}') into paused from halted h;
    return paused;
end
$$;
call app.grant_definer('app.archive_brand(uuid)', array['app_admin']);

-- Restore an archived brand and resume the campaigns that its archiving paused. Those that have ended meanwhile stay
-- paused: the job campaigns.sweep completes them. Return the ids of the campaigns that were resumed.
create function app.restore_brand(p_brand_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    resumed uuid[];
begin
    perform app.require_brand(p_brand_id, 'brands:write');
    update public.brands b set archived_at = null, updated_at = now(), version = b.version + 1
    where b.id = p_brand_id and b.archived_at is not null;
    if not found then
        return '{}';
    end if;
    with returned as (
        update public.campaigns c
        set status = 'Active', paused_with_brand = false, updated_at = now(), version = c.version + 1
        where c.brand_id = p_brand_id and c.paused_with_brand and (c.ends_at > now()) is not false returning c.id
    )
    select coalesce(array_agg(r.id order by r.id), '{}') into resumed from returned r;
    return resumed;
end
$$;
call app.grant_definer('app.restore_brand(uuid)', array['app_admin']);
