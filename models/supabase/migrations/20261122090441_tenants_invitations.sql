-- Invitations into a brand: send, send again, revoke, and the limits on their mails.

-- Report whether the sender of an invitation may still send it. The account must not be suspended. The sender is a
-- system admin, or a member of the brand who may invite and has every permission of the invited role.
create function app.sender_may_invite(p_invitation app.invitations) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    sender text;
begin
    select r.name into sender from public.users u join public.roles r on r.id = u.role_id
    where u.id = p_invitation.invited_by and u.suspended_at is null
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

-- Refuse an invitee who is a member of the brand already. Refuse the address of another
-- account for system admins only: members could test otherwise which addresses have an account.
create function app.require_invitable(p_brand_id uuid, p_email text) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    known record;
begin
    select u.brand_id, r.name as role into known
    from public.users u join public.roles r on r.id = u.role_id where u.email = p_email;
    if known.brand_id = p_brand_id then
        perform app.refuse(409, 'already_member', 'This person is a member of the brand already.');
    elsif current_setting('role') = 'app_admin' and known.role <> 'Fan' then
        perform app.refuse(409, 'email_in_use', 'An account with this address exists already.');
    end if;
end
$$;
call app.grant_definer('app.require_invitable(uuid,text)', '{}');

-- Report whether another mail may be sent to an address, whichever brands have invited it.
create function app.may_mail_invitation(p_email text, p_max_mails_per_hour int) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select coalesce(sum(i.mails), 0) <= p_max_mails_per_hour from app.invitations i
        where i.email = p_email and i.sent_at > now() - interval '1 hour');
end
$$;
call app.grant_definer('app.may_mail_invitation(text,int)', '{}');

-- Invite an address. Return whether a mail may be sent to it.
create function app.invite(
    p_id uuid, p_brand_id uuid, p_email text, p_role text, p_lifetime interval, p_max_per_day int,
    p_max_mails_per_hour int
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_brand(p_brand_id, 'members:write');
    perform app.require_grantable(p_role);
    -- Serialise invitations of one brand and to one address: concurrent ones would not be counted by each other.
    perform from public.brands b where b.id = p_brand_id for no key update;
    perform pg_advisory_xact_lock(hashtextextended('app.invite:' || p_email, 0));
    perform from public.brands b where b.id = p_brand_id and b.archived_at is not null;
    if found then
        perform app.refuse(409, 'brand_archived', 'The brand is archived.');
    end if;
    perform app.require_invitable(p_brand_id, p_email);
    if (
        select count(*) from app.invitations i
        where i.brand_id = p_brand_id and i.created_at > now() - interval '1 day') >= p_max_per_day
    then
        perform app.refuse(429, 'too_many_invitations', 'The brand has reached its limit of invitations for today.');
    end if;
    -- Close an expired invitation: the unique index allows one open invitation for each brand and address.
    update app.invitations i set revoked_at = i.expires_at
    where i.brand_id = p_brand_id and i.email = p_email and i.used_at is null and i.revoked_at is null
        and i.expires_at <= now();
    insert into app.invitations (id, brand_id, email, role_id, invited_by, expires_at)
    select p_id, p_brand_id, p_email, r.id, (app.claims() ->> 'sub')::uuid, now() + p_lifetime
    from public.roles r where r.name = p_role
    on conflict (brand_id, email) where used_at is null and revoked_at is null do nothing;
    if not found then
        perform app.refuse(409, 'already_invited', 'An invitation to this address is open; send it again.');
    end if;
    return app.may_mail_invitation(p_email, p_max_mails_per_hour);
end
$$;
call app.grant_definer('app.invite(uuid,uuid,text,text,interval,int,int)', array['authenticated', 'app_admin']);

-- Return address, brand and language of an open invitation's mail: the language of the account that the address has,
-- else the brand's, else English. No row if the invitation is closed or is not of the job's brand.
create function app.invitation_mail(p_id uuid) returns table (email text, locale text, brand text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select i.email, coalesce(u.locale, b.settings ->> 'locale', 'en'), b.name
    from app.invitations i join public.brands b on b.id = i.brand_id left join public.users u on u.email = i.email
    where i.id = p_id and i.brand_id = (app.claims() #>> '{app_metadata,brand_id}')::uuid
        and i.used_at is null and i.revoked_at is null and i.expires_at > now();
end
$$;
call app.grant_definer('app.invitation_mail(uuid)', array['app_job']);

-- Prolong an open or expired invitation that is sent again. Return whether a mail may be sent.
create function app.renew_invitation(p_brand_id uuid, p_id uuid, p_lifetime interval, p_max_mails_per_hour int)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invitation app.invitations;
begin
    perform app.require_brand(p_brand_id, 'members:write');
    -- Lock in the order of app.invite: the address, then the invitation.
    perform pg_advisory_xact_lock(hashtextextended('app.invite:' || i.email, 0))
    from app.invitations i where i.id = p_id and i.brand_id = p_brand_id;
    select * into invitation from app.invitations i where i.id = p_id and i.brand_id = p_brand_id for update;
    if not found then
        perform app.refuse(404, 'not_found');
    elsif invitation.used_at is not null or invitation.revoked_at is not null then
        perform app.refuse(409, 'invitation_closed', 'The invitation has been accepted or revoked.');
    elsif exists (select from public.brands b where b.id = p_brand_id and b.archived_at is not null) then
        perform app.refuse(409, 'brand_archived', 'The brand is archived.');
    elsif invitation.sent_at > now() - interval '1 minute' then
        perform app.refuse(429, 'sent_just_now', 'Wait a minute before sending it again.');
    end if;
    -- `mails` counts mails that follow each other within an hour; earlier ones don't count towards the limit.
    update app.invitations i set expires_at = now() + p_lifetime, sent_at = now(),
        mails = case when i.sent_at > now() - interval '1 hour' then i.mails + 1 else 1 end
    where i.id = p_id;
    return app.may_mail_invitation(invitation.email, p_max_mails_per_hour);
end
$$;
call app.grant_definer('app.renew_invitation(uuid,uuid,interval,int)', array['authenticated', 'app_admin']);

-- Revoke an invitation that is neither accepted nor revoked. Its link is invalid from then on.
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
        perform app.refuse(409, 'invitation_closed', 'The invitation has been accepted or revoked.');
    end if;
end
$$;
call app.grant_definer('app.revoke_invitation(uuid,uuid)', array['authenticated', 'app_admin']);
