-- Accounts as system admins manage them: role, brand, suspension.

-- Change a user's role and brand. System admins are made and removed by a script only. Return the ids of the
-- invitations that were revoked.
create function app.change_user_role(p_user_id uuid, p_role text, p_brand_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person record;
begin
    select r.name as role, u.is_anonymous into person
    from public.users u join public.roles r on r.id = u.role_id where u.id = p_user_id;
    if not found then
        perform app.refuse(404, 'not_found');
    elsif person.role = 'System Admin' or p_role = 'System Admin' then
        perform app.refuse(403, 'role_not_grantable', 'System admins can''t be made or removed here.');
    elsif person.is_anonymous and p_role <> 'Fan' then
        perform app.refuse(409, 'anonymous_account', 'An anonymous account can only be a Fan.');
    elsif app.is_member_role(p_role) <> (p_brand_id is not null) then
        perform app.refuse(422, 'brand_by_role', 'Members have a brand, and fans have none.');
    end if;
    perform from public.brands b where b.id = p_brand_id;
    if p_brand_id is not null and not found then
        perform app.refuse(422, 'unknown_brand', 'The brand does not exist.');
    end if;
    return app.set_role(p_user_id, p_role, p_brand_id);
end
$$;
call app.grant_definer('app.change_user_role(uuid,text,uuid)', array['app_admin']);

-- Lock the row of an account whose suspension is about to change; refuse the caller's own account.
create function app.get_suspension_for_update(p_user_id uuid) returns timestamptz
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
    suspended timestamptz;
begin
    if p_user_id = caller then
        perform app.refuse(409, 'own_account', 'Another system admin has to suspend or reinstate your account.');
    end if;
    perform from public.users u where u.id = p_user_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    -- Lock both accounts in order of their ids. Two admins could otherwise suspend each other at once, and no admin
    -- would be left.
    perform from public.users u where u.id in (p_user_id, caller) order by u.id for no key update;
    perform app.require_session();
    select u.suspended_at into suspended from public.users u where u.id = p_user_id;
    return suspended;
end
$$;
call app.grant_definer('app.get_suspension_for_update(uuid)', '{}');

-- Suspend an account: end its sessions, and revoke the open invitations that the person sent and, with p_revoke_keys,
-- the API keys that the person created. Return the ids of what was revoked.
create function app.suspend_user(p_user_id uuid, p_revoke_keys boolean) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    keys uuid[] := '{}';
begin
    if app.get_suspension_for_update(p_user_id) is null then
        update public.users u set suspended_at = now(), updated_at = now() where u.id = p_user_id;
    end if;
    perform app.end_sessions(p_user_id);
    if p_revoke_keys then
        with gone as (
            update app.api_keys k set revoked_at = now()
            where k.created_by = p_user_id and k.revoked_at is null and k.expires_at > now() returning k.id
        )
        select coalesce(array_agg(g.id order by g.id), '{}') into keys from gone g;
    end if;
    return jsonb_build_object('invitations', app.revoke_invitations_of(p_user_id), 'api_keys', keys);
end
$$;
call app.grant_definer('app.suspend_user(uuid,boolean)', array['app_admin']);

-- Reinstate an account, and delete its counters of attempts, whether or not it was suspended.
create function app.reinstate_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if app.get_suspension_for_update(p_user_id) is not null then
        update public.users u set suspended_at = null, updated_at = now() where u.id = p_user_id;
    end if;
    perform app.reset_attempts(p_user_id);
end
$$;
call app.grant_definer('app.reinstate_user(uuid)', array['app_admin']);
