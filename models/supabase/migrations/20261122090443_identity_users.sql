-- Accounts as system admins manage them: role, brand, suspension.

-- Lock an account and its brands for a system admin who is about to change the role.
create function app.hold_user(p_user_id uuid, p_brand_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.lock_user_and_brands(p_user_id, p_brand_id);
end
$$;
call app.grant_definer('app.hold_user(uuid,uuid)', array['app_admin']);

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
        perform app.refuse(422, 'unknown_brand', 'There is no such brand.');
    end if;
    return app.set_role(p_user_id, p_role, p_brand_id);
end
$$;
call app.grant_definer('app.change_user_role(uuid,text,uuid)', array['app_admin']);

-- Lock an account, which ends its sessions and refuses sign-ins, or unlock it. A lock revokes the open invitations that the
-- person sent and, with p_revoke_keys, the API keys that the person created: `revoked` says which. An unlock also deletes
-- the counters of attempts, whether or not an admin had locked the account.
create function app.lock_user(
    p_user_id uuid, p_locked boolean, p_revoke_keys boolean, out changed boolean, out revoked jsonb
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    keys uuid[] := '{}';
begin
    if p_user_id = (app.claims() ->> 'sub')::uuid then
        perform app.refuse(409, 'own_account', 'Nobody locks the own account.');
    end if;
    perform from public.users u where u.id = p_user_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    -- One after the other, or two admins could lock each other out at once, and nobody be left to let them in.
    perform from public.users u where u.id in (p_user_id, (app.claims() ->> 'sub')::uuid) order by u.id for no key update;
    perform app.require_session();
    update public.users u set locked_at = case when p_locked then now() end, updated_at = now()
    where u.id = p_user_id and (u.locked_at is not null) <> p_locked;
    changed := found;
    if not p_locked then
        perform app.forget_attempts(p_user_id);
        return;
    end if;
    perform app.end_sessions(p_user_id);
    if p_revoke_keys then
        with gone as (
            update app.api_keys k set revoked_at = now()
            where k.created_by = p_user_id and k.revoked_at is null and k.expires_at > now() returning k.id
        )
        select coalesce(array_agg(g.id order by g.id), '{}') into keys from gone g;
    end if;
    revoked := jsonb_build_object('invitations', app.revoke_invitations_of(p_user_id), 'api_keys', keys);
end
$$;
call app.grant_definer('app.lock_user(uuid,boolean,boolean)', array['app_admin']);
