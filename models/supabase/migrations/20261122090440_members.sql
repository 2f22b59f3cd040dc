-- Who works for a brand, and what everybody is: members, invitations, assignments, accounts, archived brands.
--
-- Each function decides by itself whether its caller may: a member with the permission, in the own brand, or a system
-- admin. What is another brand's is not found.

-- Refuses whoever may not do this in this brand.
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

-- Refuses a role that the caller may not give: one outside of brands, or one that may do what the caller may not.
create function app.require_grantable(p_role text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_role not in ('Brand Admin', 'Campaign Manager', 'Creator') then
        perform app.refuse(403, 'role_not_grantable', 'Nobody in a brand has this role.');
    end if;
    if current_setting('role') <> 'app_admin' and exists (
        select p.permission from public.role_permissions p where p.role = p_role
        except
        select p.permission from public.role_permissions p where p.role = app.claims() #>> '{app_metadata,user_role}')
    then
        perform app.refuse(403, 'role_not_grantable', 'This role may do more than you may.');
    end if;
end
$$;
call app.grant_definer('app.require_grantable(text)', '{}');

create type app.member as (
    id uuid, brand_id uuid, email text, name text, role text, locale text, created_at timestamptz, locked_at timestamptz,
    has_second_factor boolean              -- null: somebody else signs them in, and knows
);

-- The people of a brand.
create function app.members(p_brand_id uuid) returns setof app.member
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:read');
    return query
    select u.id, u.brand_id, u.email, u.name, r.name, u.locale, u.created_at, u.locked_at,
        case when u.identity_provider is null then exists (
            select from app.totp_factors f where f.user_id = u.id and f.confirmed_at is not null)
        end
    from public.users u join public.roles r on r.id = u.role_id where u.brand_id = p_brand_id;
end
$$;
call app.grant_definer('app.members(uuid)', array['authenticated', 'app_admin']);

-- Counts that a brand has its people told that they need a second factor; how many seconds it has to wait, 0 if it needn't.
create function app.count_announcement(p_brand_id uuid, p_key bytea, p_most int, p_window interval) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'brand:write');
    return app.count_sign_in(p_key, p_most, p_window);
end
$$;
call app.grant_definer('app.count_announcement(uuid,bytea,int,interval)', array['authenticated', 'app_admin']);

-- Of the brand that a job works for, the people who need a second factor and have none that we know of, or one of them.
create function app.members_to_enrol(p_user_id uuid default null)
returns table (user_id uuid, email text, locale text, timezone text, brand text, required_from timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select u.id, u.email, u.locale, u.timezone, b.name, b.mfa_required_from
    from public.brands b join public.users u on u.brand_id = b.id
    where b.id = (app.claims() #>> '{app_metadata,brand_id}')::uuid and b.mfa_required_from is not null
        and (p_user_id is null or u.id = p_user_id) and u.email is not null and app.may_sign_in(u)
        and not exists (select from app.totp_factors f where f.user_id = u.id and f.confirmed_at is not null);
end
$$;
call app.grant_definer('app.members_to_enrol(uuid)', array['app_job']);

-- Keeps what somebody is until this transaction ends; p_brand_id is the brand that they may come to. One change of a brand's
-- people at a time, or two admins could take each other's role away at once.
create function app.hold_person(p_user_id uuid, p_brand_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from public.brands b where b.id in (p_brand_id, (select u.brand_id from public.users u where u.id = p_user_id))
    order by b.id for no key update;
    perform from public.users u where u.id = p_user_id for update;
end
$$;
call app.grant_definer('app.hold_person(uuid,uuid)', '{}');

-- The same for whoever is about to change a member.
create function app.hold_member(p_brand_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform from public.users u where u.id = p_user_id and u.brand_id = p_brand_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    perform app.hold_person(p_user_id, p_brand_id);
end
$$;
call app.grant_definer('app.hold_member(uuid,uuid)', array['authenticated', 'app_admin']);

-- The same for a system admin who is about to make somebody something else.
create function app.hold_user(p_user_id uuid, p_brand_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.hold_person(p_user_id, p_brand_id);
end
$$;
call app.grant_definer('app.hold_user(uuid,uuid)', array['app_admin']);

-- Whether the person who sent an invitation may still send it: an account that is not locked, and either a system admin
-- or a member of the brand who may invite and whose role includes every permission of the invited role.
create function app.sender_may_invite(p_invitation app.invitations) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    sender text;
begin
    select r.name into sender from public.users u join public.roles r on r.id = u.role_id
    where u.id = p_invitation.invited_by and u.locked_at is null
        and (r.name = 'System Admin' or u.brand_id = p_invitation.brand_id);
    if sender is null then
        return false;
    end if;
    return sender = 'System Admin' or exists (
        select from public.role_permissions p where p.role = sender and p.permission = 'members:write'
    ) and not exists (
        select p.permission from public.role_permissions p join public.roles r on r.name = p.role
        where r.id = p_invitation.role_id
        except
        select p.permission from public.role_permissions p where p.role = sender);
end
$$;
call app.grant_definer('app.sender_may_invite(app.invitations)', '{}');

-- Revoke the open invitations that their sender may no longer send. Return their ids.
create function app.revoke_invitations_of(p_user_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ids uuid[];
begin
    with revoked as (
        update app.invitations i set revoked_at = now()
        where i.invited_by = p_user_id and i.used_at is null and i.revoked_at is null and i.expires_at > now()
            and not app.sender_may_invite(i)
        returning i.id
    )
    select coalesce(array_agg(r.id order by r.id), '{}') into ids from revoked r;
    return ids;
end
$$;
call app.grant_definer('app.revoke_invitations_of(uuid)', '{}');

-- Change a person's role and brand, and revoke the invitations that the person may no longer send. Return their ids. The
-- functions below have decided that the change is allowed.
create function app.set_role(p_user_id uuid, p_role text, p_brand_id uuid) returns uuid[]
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person record;
begin
    perform app.hold_person(p_user_id, p_brand_id);
    select u.brand_id, r.name as role into strict person
    from public.users u join public.roles r on r.id = u.role_id where u.id = p_user_id;
    if person.role = 'Brand Admin' and (p_role, p_brand_id) is distinct from (person.role, person.brand_id)
        and not exists (
            select from public.users u join public.roles r on r.id = u.role_id
            where u.brand_id = person.brand_id and r.name = 'Brand Admin' and u.id <> p_user_id and u.locked_at is null)
    then
        perform app.refuse(409, 'last_brand_admin', 'Somebody else has to be Brand Admin first.');
    end if;
    if p_role <> 'Creator' or p_brand_id is distinct from person.brand_id then
        delete from public.campaign_assignments a where a.user_id = p_user_id;
    end if;
    update public.users u
    set role_id = (select r.id from public.roles r where r.name = p_role), brand_id = p_brand_id, updated_at = now()
    where u.id = p_user_id;
    if p_brand_id is distinct from person.brand_id and p_brand_id is not null then
        perform app.settle_address(p_user_id);
    end if;
    return app.revoke_invitations_of(p_user_id);
end
$$;
call app.grant_definer('app.set_role(uuid,text,uuid)', '{}');

-- Change a member's role. Tokens with the old role are refused from the next request on. Return the invitations that were
-- revoked.
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

-- Remove a member from the brand and end the person's sessions. The account stays, as a fan's. Return the invitations
-- that were revoked.
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

-- Invites an address; whether a mail may be sent to it. Whether it has an account elsewhere is not the brand's to know:
-- system admins are told, everybody else learns it from nobody but the person.
create function app.invite(
    p_id uuid, p_brand_id uuid, p_email text, p_role text, p_lifetime interval, p_most_a_day int, p_mails_an_hour int
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    known record;
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform app.require_grantable(p_role);
    -- One invitation of a brand at a time, and one to an address, or many at once would find that there are few yet.
    perform from public.brands b where b.id = p_brand_id for no key update;
    perform pg_advisory_xact_lock(hashtextextended('app.invite:' || p_email, 0));
    perform from public.brands b where b.id = p_brand_id and b.archived_at is not null;
    if found then
        perform app.refuse(409, 'brand_archived', 'The brand is archived.');
    end if;
    select u.brand_id, r.name as role into known
    from public.users u join public.roles r on r.id = u.role_id where u.email = p_email;
    if known.brand_id = p_brand_id then
        perform app.refuse(409, 'already_member', 'This person works for the brand already.');
    elsif current_setting('role') = 'app_admin' and known.role <> 'Fan' then
        perform app.refuse(409, 'email_in_use', 'There is an account with this address already.');
    end if;
    if (select count(*) from app.invitations i where i.brand_id = p_brand_id and i.created_at > now() - interval '1 day')
        >= p_most_a_day
    then
        perform app.refuse(429, 'too_many_invitations', 'The brand has invited enough people for today.');
    end if;
    update app.invitations i set revoked_at = i.expires_at
    where i.brand_id = p_brand_id and i.email = p_email and i.used_at is null and i.revoked_at is null
        and i.expires_at <= now();
    insert into app.invitations (id, brand_id, email, role_id, invited_by, expires_at)
    select p_id, p_brand_id, p_email, r.id, (app.claims() ->> 'sub')::uuid, now() + p_lifetime
    from public.roles r where r.name = p_role
    on conflict (brand_id, email) where used_at is null and revoked_at is null do nothing;
    if not found then
        perform app.refuse(409, 'already_invited', 'There is an invitation to this address; it can be sent again.');
    end if;
    return app.may_mail_invitation(p_email, p_mails_an_hour);
end
$$;

-- Nobody's inbox is filled by inviting their address, whichever brands do it.
create function app.may_mail_invitation(p_email text, p_mails_an_hour int) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select coalesce(sum(i.mails), 0) <= p_mails_an_hour from app.invitations i
        where i.email = p_email and i.sent_at > now() - interval '1 hour');
end
$$;
call app.grant_definer('app.may_mail_invitation(text,int)', '{}');
call app.grant_definer('app.invite(uuid,uuid,text,text,interval,int,int)', array['authenticated', 'app_admin']);

-- Prolongs an open invitation that is to be sent again; whether a mail may be.
create function app.renew_invitation(p_brand_id uuid, p_id uuid, p_lifetime interval, p_mails_an_hour int)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invitation app.invitations;
begin
    perform app.require_brand(p_brand_id, 'members:write');
    -- As app.invite does: first the address, then the invitation.
    perform pg_advisory_xact_lock(hashtextextended('app.invite:' || i.email, 0))
    from app.invitations i where i.id = p_id and i.brand_id = p_brand_id;
    select * into invitation from app.invitations i where i.id = p_id and i.brand_id = p_brand_id for update;
    if not found then
        perform app.refuse(404, 'not_found');
    elsif invitation.used_at is not null or invitation.revoked_at is not null then
        perform app.refuse(409, 'invitation_closed', 'It has been accepted or revoked.');
    elsif exists (select from public.brands b where b.id = p_brand_id and b.archived_at is not null) then
        perform app.refuse(409, 'brand_archived', 'The brand is archived.');
    elsif invitation.sent_at > now() - interval '1 minute' then
        perform app.refuse(429, 'sent_just_now', 'Wait a minute before sending it again.');
    end if;
    -- `mails` counts a run of mails with less than an hour between them: older ones fill no inbox now.
    update app.invitations i set expires_at = now() + p_lifetime, sent_at = now(),
        mails = case when i.sent_at > now() - interval '1 hour' then i.mails + 1 else 1 end
    where i.id = p_id;
    return app.may_mail_invitation(invitation.email, p_mails_an_hour);
end
$$;
call app.grant_definer('app.renew_invitation(uuid,uuid,interval,int)', array['authenticated', 'app_admin']);

-- Takes an open invitation back; its link is good for nothing from then on.
create function app.revoke_invitation(p_brand_id uuid, p_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:write');
    update app.invitations i set revoked_at = now()
    where i.id = p_id and i.brand_id = p_brand_id and i.used_at is null and i.revoked_at is null;
    if not found then
        perform from app.invitations i where i.id = p_id and i.brand_id = p_brand_id;
        if not found then
            perform app.refuse(404, 'not_found');
        end if;
        perform app.refuse(409, 'invitation_closed', 'It has been accepted or revoked.');
    end if;
end
$$;
call app.grant_definer('app.revoke_invitation(uuid,uuid)', array['authenticated', 'app_admin']);

-- Lets a creator see a campaign; false if they did already.
create function app.assign_campaign(p_campaign_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('campaigns:assign');
    role_name text;
begin
    perform from public.campaigns c where c.id = p_campaign_id and c.brand_id = brand;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    select r.name into role_name from public.users u join public.roles r on r.id = u.role_id
    where u.id = p_user_id and u.brand_id = brand for share of u;
    if not found then
        perform app.refuse(404, 'not_found');
    elsif role_name <> 'Creator' then
        perform app.refuse(409, 'not_a_creator', 'This person sees all campaigns of the brand.');
    end if;
    insert into public.campaign_assignments (brand_id, campaign_id, user_id, assigned_by)
    values (brand, p_campaign_id, p_user_id, (app.claims() ->> 'sub')::uuid) on conflict do nothing;
    return found;
end
$$;
call app.grant_definer('app.assign_campaign(uuid,uuid)', array['authenticated']);

-- Takes a creator's sight of a campaign away.
create function app.unassign_campaign(p_campaign_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from public.campaign_assignments a
    where a.campaign_id = p_campaign_id and a.user_id = p_user_id and a.brand_id = app.brand_for('campaigns:assign');
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
end
$$;
call app.grant_definer('app.unassign_campaign(uuid,uuid)', array['authenticated']);

-- Who is assigned to a campaign.
create function app.assignments(p_campaign_id uuid)
returns table (user_id uuid, email text, name text, assigned_by uuid, created_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select a.user_id, u.email, u.name, a.assigned_by, a.created_at
    from public.campaign_assignments a join public.users u on u.id = a.user_id
    where a.campaign_id = p_campaign_id and a.brand_id = app.brand_for('campaigns:assign');
end
$$;
call app.grant_definer('app.assignments(uuid)', array['authenticated']);

-- Change a person's role and brand, as a system admin. Operators make and unmake system admins, by a script. Return the
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
        perform app.refuse(403, 'role_not_grantable', 'System admins are not made or unmade here.');
    elsif person.is_anonymous and p_role <> 'Fan' then
        perform app.refuse(409, 'anonymous_account', 'Nobody could sign in to it.');
    elsif (p_role = 'Fan') <> (p_brand_id is null) then
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

-- Whether the caller's brand is live, which it then stays until this transaction ends: archiving waits for it, and nothing
-- goes live in a brand that is being archived. To be asked before anything else is locked.
create function app.hold_brand() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    live boolean;
begin
    select b.archived_at is null into live from public.brands b
    where b.id = (app.claims() #>> '{app_metadata,brand_id}')::uuid for share;
    return coalesce(live, false);
end
$$;
call app.grant_definer('app.hold_brand()', array['authenticated', 'app_job']);

-- Archives a brand: sessions of its people end, nobody signs in for it, and its live campaigns are paused; which.
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
        update public.campaigns c set status = 'Paused', updated_at = now(), version = c.version + 1
        where c.brand_id = p_brand_id and c.status = 'Active' returning c.id
    )
    select coalesce(array_agg(h.id), '{}') into paused from halted h;
    return paused;
end
$$;
call app.grant_definer('app.archive_brand(uuid)', array['app_admin']);

-- Takes it back. Campaigns stay paused until somebody resumes them.
create function app.restore_brand(p_brand_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'brands:write');
    update public.brands b set archived_at = null, updated_at = now(), version = b.version + 1
    where b.id = p_brand_id and b.archived_at is not null;
end
$$;
call app.grant_definer('app.restore_brand(uuid)', array['app_admin']);
