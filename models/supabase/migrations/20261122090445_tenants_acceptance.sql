-- Acceptance of invitations: by the link in the mail, or by a signed-in fan.

-- Return the address that an invitation is for; a new password must not be made of it.
create function app.invitation_owner(p_invitation_id uuid) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    invited text;
begin
    select i.email into invited from app.invitations i
    where i.id = p_invitation_id and i.used_at is null and i.revoked_at is null and i.expires_at > now();
    if not found then
        perform app.refuse(404, 'link_invalid', 'Ask for a new invitation.');
    end if;
    return invited;
end
$$;
call app.grant_definer('app.invitation_owner(uuid)', array['app_credentials']);

-- Mark an invitation as accepted and return it; refuse one that is not open, whose brand is archived, or whose sender
-- may no longer invite. With p_email, it must be for this address.
create function app.use_invitation(p_invitation_id uuid, p_email text default null) returns app.invitations
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invitation app.invitations;
begin
    update app.invitations i set used_at = now()
    where i.id = p_invitation_id and i.email = coalesce(p_email, i.email) and i.used_at is null
        and i.revoked_at is null and i.expires_at > now()
        and not exists (select from public.brands b where b.id = i.brand_id and b.archived_at is not null)
        and app.sender_may_invite(i)
    returning * into invitation;
    if not found then
        perform app.refuse(404, 'link_invalid', 'Ask for a new invitation.');
    end if;
    return invitation;
end
$$;
call app.grant_definer('app.use_invitation(uuid,text)', '{}');

-- Create the member that an invitation is for. Return the address to sign in with. A fan with this address becomes the
-- member: the link proves that its reader owns the mailbox. Earlier sessions and other access of the fan end.
create function app.accept_invitation(
    p_invitation_id uuid, p_user_id uuid, p_password_hash text, p_name text, p_locale text, p_request jsonb
) returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invitation app.invitations := app.use_invitation(p_invitation_id);
    was jsonb;
    removed jsonb;
begin
    select app.membership_of(u.id) into was from public.users u where u.email = invitation.email;
    -- Create the account, or turn the fan's account into the member's. An account with another role stays as it is.
    insert into public.users as u (id, email, password_hash, role_id, brand_id, name, locale, email_verified_at)
    values (p_user_id, invitation.email, p_password_hash, invitation.role_id, invitation.brand_id, p_name, p_locale,
        now())
    on conflict (email) where email is not null do update set
        password_hash = excluded.password_hash, role_id = excluded.role_id, brand_id = excluded.brand_id,
        name = coalesce(excluded.name, u.name), email_verified_at = coalesce(u.email_verified_at, now()),
        updated_at = now()
    where u.role_id = (select r.id from public.roles r where r.name = 'Fan') and u.suspended_at is null
    returning u.id into p_user_id;
    if not found then
        perform app.refuse(409, 'email_in_use', 'An account with this address exists already.');
    end if;
    -- End everything that an earlier owner of the mailbox could still use.
    perform app.end_sessions(p_user_id);
    perform app.end_address_changes(p_user_id);
    perform app.reset_attempts(p_user_id);
    removed := app.remove_access(p_user_id, p_request);
    perform app.add_account_audit('invitation.accept', p_user_id, jsonb_build_object('invitation', p_invitation_id,
        'before', was, 'after', app.membership_of(p_user_id), 'removed', removed), p_request);
    return invitation.email;
end
$$;
call app.grant_definer('app.accept_invitation(uuid,uuid,text,text,text,jsonb)', array['app_credentials']);

-- Make the caller, a fan with an account, the member that an invitation to the account's own address is for. Return the
-- brand. The caller's token names the role Fan and is refused from then on.
create function app.accept_invitation_as_fan(p_invitation_id uuid, p_request jsonb) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person public.users;
    invitation app.invitations;
    was jsonb := app.membership_of((app.claims() ->> 'sub')::uuid);
    removed jsonb;
begin
    -- Lock in the order of app.accept_invitation: the invitation, then the user.
    perform from app.invitations i where i.id = p_invitation_id for update;
    select * into strict person from public.users u where u.id = (app.claims() ->> 'sub')::uuid for update;
    if person.role_id <> (select r.id from public.roles r where r.name = 'Fan') then
        perform app.refuse(409, 'already_member', 'Only a fan can become a member.');
    end if;
    invitation := app.use_invitation(p_invitation_id, coalesce(person.email, ''));
    update public.users u set role_id = invitation.role_id, brand_id = invitation.brand_id, updated_at = now(),
        email_verified_at = coalesce(u.email_verified_at, now())
    where u.id = person.id;
    perform app.end_address_changes(person.id);
    removed := app.remove_access(person.id, p_request);
    perform app.end_own_sessions('others');
    -- The authenticator of this session was removed.
    update app.sessions s set aal = 'aal1' where s.id = (app.claims() ->> 'session_id')::uuid;
    perform app.add_account_audit('invitation.accept', person.id, jsonb_build_object('invitation', invitation.id,
        'before', was, 'after', app.membership_of(person.id), 'removed', removed), p_request);
    return invitation.brand_id;
end
$$;
call app.grant_definer('app.accept_invitation_as_fan(uuid,jsonb)', array['app_credentials']);
