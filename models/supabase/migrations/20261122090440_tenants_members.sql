-- Members of a brand: list, roles, removal, and the notification that a brand requires MFA.
--
-- Each function checks by itself that its caller is allowed: a member with the permission, in the own brand, or a
-- system admin. Rows of another brand are reported as `not_found`.

-- Refuse a caller without the permission (403), and a brand that is not the caller's (404).
create function app.require_brand(p_brand_id uuid, p_permission text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('role') = 'app_admin' then
        perform from public.role_permissions p where p.role = 'System Admin' and p.permission = p_permission;
        if not found then
            perform app.refuse(403, 'forbidden');
        end if;
        perform from public.brands b where b.id = p_brand_id;
    else
        perform from public.brands b where b.id = p_brand_id and b.id = app.brand_for(p_permission);
    end if;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
end
$$;
call app.grant_definer('app.require_brand(uuid,text)', '{}');

-- Report whether a role is one that members of a brand have. The one place in SQL that lists these roles, beside the
-- CHECK constraints of public.users and app.invitations, which a test compares with it.
create function app.is_member_role(p_role text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    return p_role in ('Brand Admin', 'Campaign Manager', 'Creator');
end
$$;
call app.grant_definer('app.is_member_role(text)', '{}');

-- Refuse a role that the caller may not grant: one outside of brands, or one with a permission that the caller lacks.
create function app.require_grantable(p_role text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not app.is_member_role(p_role) then
        perform app.refuse(403, 'role_not_grantable', 'Members of a brand can''t have this role.');
    end if;
    if current_setting('role') <> 'app_admin' and exists (
        select p.permission from public.role_permissions p where p.role = p_role
        except
        select p.permission from public.role_permissions p where p.role = app.claims() #>> '{app_metadata,user_role}')
    then
        perform app.refuse(403, 'role_not_grantable', 'This role has permissions that you don''t have.');
    end if;
end
$$;
call app.grant_definer('app.require_grantable(text)', '{}');

create type app.member as (
    id uuid, brand_id uuid, email text, name text, role text, locale text, created_at timestamptz,
    suspended_at timestamptz,
    has_mfa boolean              -- null: an external identity provider signs the member in
);

-- Return the members of a brand.
create function app.members(p_brand_id uuid) returns setof app.member
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:read');
    return query
    select u.id, u.brand_id, u.email, u.name, r.name, u.locale, u.created_at, u.suspended_at,
        case when u.identity_provider is null then exists (
            select from app.totp_factors f where f.user_id = u.id and f.confirmed_at is not null)
        end
    from public.users u join public.roles r on r.id = u.role_id where u.brand_id = p_brand_id;
end
$$;
call app.grant_definer('app.members(uuid)', array['authenticated', 'app_admin']);

-- Count one notification of a brand's members about MFA. Return the seconds to wait; 0 if it may be sent now.
create function app.count_mfa_announcement(p_brand_id uuid, p_key bytea, p_max int, p_window interval) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'brand:write');
    return app.count_attempt(p_key, p_max, p_window);
end
$$;
call app.grant_definer('app.count_mfa_announcement(uuid,bytea,int,interval)', array['authenticated', 'app_admin']);

-- Return the members of the job's brand, or one of them, who can sign in and need MFA but have no authenticator here.
create function app.members_to_enrol(p_user_id uuid default null)
returns table (user_id uuid, email text, locale text, timezone text, brand text, required_from timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select u.id, u.email, u.locale, u.timezone, b.name, b.mfa_required_from
    from public.brands b join public.users u on u.brand_id = b.id
    where b.id = (app.claims() #>> '{app_metadata,brand_id}')::uuid and b.mfa_required_from is not null
        and (p_user_id is null or u.id = p_user_id) and u.email is not null
        and exists (select from app.active_users a where a.id = u.id)
        and not exists (select from app.totp_factors f where f.user_id = u.id and f.confirmed_at is not null);
end
$$;
call app.grant_definer('app.members_to_enrol(uuid)', array['app_job']);

-- Lock the rows of a user, of the user's brand and of p_brand_id (the brand that the user is about to join) until the
-- transaction ends. The brand's lock serialises changes of its members: two admins could demote each other otherwise.
create function app.lock_user_and_brands(p_user_id uuid, p_brand_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- In the order of the ids: two transactions that lock the same two brands would deadlock otherwise.
    perform from public.brands b
    where b.id in (p_brand_id, (select u.brand_id from public.users u where u.id = p_user_id))
    order by b.id for no key update;
    perform from public.users u where u.id = p_user_id for update;
end
$$;
call app.grant_definer('app.lock_user_and_brands(uuid,uuid)', array['app_admin']);

-- Lock a member's row for a caller who is about to change the member.
create function app.lock_member(p_brand_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform from public.users u where u.id = p_user_id and u.brand_id = p_brand_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    perform app.lock_user_and_brands(p_user_id, p_brand_id);
end
$$;
call app.grant_definer('app.lock_member(uuid,uuid)', array['authenticated', 'app_admin']);

-- Change a user's role and brand, and revoke the invitations that the user may no longer send. Return their ids.
-- Callers have checked that the change is allowed.
create function app.set_role(p_user_id uuid, p_role text, p_brand_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person record;
begin
    perform app.lock_user_and_brands(p_user_id, p_brand_id);
    select u.brand_id, r.name as role into strict person
    from public.users u join public.roles r on r.id = u.role_id where u.id = p_user_id;
    -- A brand keeps at least one Brand Admin who can sign in; a suspended one doesn't count.
    if person.role = 'Brand Admin' and (p_role, p_brand_id) is distinct from (person.role, person.brand_id)
        and not exists (
            select from public.users u join public.roles r on r.id = u.role_id
            where u.brand_id = person.brand_id and r.name = 'Brand Admin' and u.id <> p_user_id
                and u.suspended_at is null)
    then
        perform app.refuse(409, 'last_brand_admin', 'Make another member Brand Admin first.');
    end if;
    -- Only Creators have assignments, and only to campaigns of their own brand.
    if p_role <> 'Creator' or p_brand_id is distinct from person.brand_id then
        delete from public.campaign_assignments a where a.user_id = p_user_id;
    end if;
    update public.users u
    set role_id = (select r.id from public.roles r where r.name = p_role), brand_id = p_brand_id, updated_at = now()
    where u.id = p_user_id;
    if p_brand_id is distinct from person.brand_id then
        delete from public.notifications n where n.user_id = p_user_id;
        if p_brand_id is not null then
            perform app.end_address_changes(p_user_id);
        end if;
    end if;
    return app.revoke_invitations_of(p_user_id);
end
$$;
call app.grant_definer('app.set_role(uuid,text,uuid)', '{}');

-- Change a member's role. Tokens with the old role are refused from the next request on. Return the ids of the
-- invitations that were revoked.
create function app.change_member_role(p_brand_id uuid, p_user_id uuid, p_role text) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform app.require_grantable(p_role);
    perform from public.users u where u.id = p_user_id and u.brand_id = p_brand_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    return app.set_role(p_user_id, p_role, p_brand_id);
end
$$;
call app.grant_definer('app.change_member_role(uuid,uuid,text)', array['authenticated', 'app_admin']);

-- Remove a member from the brand and end the member's sessions. The account stays, as a fan's. Return the ids of the
-- invitations that were revoked.
create function app.remove_member(p_brand_id uuid, p_user_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    revoked uuid[];
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform from public.users u where u.id = p_user_id and u.brand_id = p_brand_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    revoked := app.set_role(p_user_id, 'Fan', null);
    perform app.end_sessions(p_user_id);
    return revoked;
end
$$;
call app.grant_definer('app.remove_member(uuid,uuid)', array['authenticated', 'app_admin']);
