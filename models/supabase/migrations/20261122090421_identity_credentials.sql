-- Changes of passwords and email addresses. Each is notified by mail.

-- Links for a new password. user_id is null if no account has the address: the request then takes the same time, and
-- its mail job finds no recipient.
create table app.password_resets (
    id uuid primary key,
    user_id uuid references public.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
);
create index password_resets_user on app.password_resets (user_id);
create index password_resets_expiry on app.password_resets (expires_at);

-- Changes of email addresses: confirmed by a link to the new address, undone by a link to the old one until undo_until.
create table app.email_changes (
    id uuid primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    old_email text not null check (old_email = lower(old_email) and length(old_email) <= 254),
    new_email text not null check (new_email = lower(new_email) and length(new_email) <= 254),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    confirmed_at timestamptz,
    undo_until timestamptz,
    undone_at timestamptz,
    audited jsonb not null,                -- {"before", "after"}: both addresses, as the audit trail may show them
    constraint email_changes_undone_if_confirmed check ((confirmed_at is null) = (undo_until is null))
);
create index email_changes_user on app.email_changes (user_id, created_at);

call app.secure('app.password_resets', p_definer_only => true);
call app.secure('app.email_changes', p_definer_only => true);

-- Begin the life of a one-time link whose mail the server has just accepted. p_purpose is the link's, as in
-- models/core/signed_links.py. Until the first accepted mail a link's expiry includes the time that mails are attempted
-- for. After that it is earlier than what a later mail would make of it, so only the first one has an effect.
create function app.begin_link(p_purpose text, p_id uuid, p_lifetime interval) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    expiry timestamptz := now() + p_lifetime;
begin
    if p_purpose = 'signup' then
        update app.signups s set expires_at = expiry where s.id = p_id and s.expires_at > expiry;
    elsif p_purpose = 'invitation' then
        update app.invitations i set expires_at = expiry
        where i.id = p_id and i.expires_at > expiry
            and i.brand_id = (app.claims() #>> '{app_metadata,brand_id}')::uuid;
    elsif p_purpose = 'password-reset' then
        update app.password_resets r set expires_at = expiry where r.id = p_id and r.expires_at > expiry;
    elsif p_purpose = 'email-change' then
        update app.email_changes c set expires_at = expiry where c.id = p_id and c.expires_at > expiry;
    elsif p_purpose = 'email-undo' then
        update app.email_changes c set undo_until = expiry where c.id = p_id and c.undo_until > expiry;
    end if;
end
$$;
call app.grant_definer('app.begin_link(text,uuid,interval)', array['app_job', 'app_system']);

-- Enqueue a mail that notifies a user of a change of the account. p_what is the name of the mail template.
create function app.notify_account(p_user_id uuid, p_what text, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_job(gen_random_uuid(), 'mail.account_notice', jsonb_build_array(p_user_id, p_what),
        p_subject_type => 'user', p_subject_id => p_user_id::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
end
$$;
call app.grant_definer('app.notify_account(uuid,text,jsonb)', '{}');

-- Invalidate the open links of a user. Call it after each change of a credential.
create function app.void_links(p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.password_resets r set used_at = now() where r.user_id = p_user_id and r.used_at is null;
    delete from app.email_changes c where c.user_id = p_user_id and c.confirmed_at is null;
end
$$;
call app.grant_definer('app.void_links(uuid)', '{}');

-- Invalidate all links that would change a user's address, or change it back. Call it when a user becomes a member: an
-- earlier owner of the account could otherwise take over the member's account.
create function app.end_address_changes(p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.void_links(p_user_id);
    update app.email_changes c set undo_until = now() where c.user_id = p_user_id and c.undo_until > now();
end
$$;
call app.grant_definer('app.end_address_changes(uuid)', '{}');

-- Lock the row of an account before its credentials are read. Two links that are followed at once would deadlock
-- otherwise.
create function app.get_user_for_update(p_user_id uuid) returns public.users
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    found_user public.users;
begin
    select u.* into found_user from public.users u where u.id = p_user_id for no key update;
    return found_user;
end
$$;
call app.grant_definer('app.get_user_for_update(uuid)', '{}');

-- Insert a password reset and enqueue its mail. p_mail is the actor's name.
create function app.add_password_reset(
    p_id uuid, p_user_id uuid, p_lifetime interval, p_request jsonb, p_mail text default 'mail.password_reset'
) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.password_resets (id, user_id, expires_at) values (p_id, p_user_id, now() + p_lifetime);
    perform app.add_job(gen_random_uuid(), p_mail, jsonb_build_array(p_id),
        p_subject_type => 'password_reset', p_subject_id => p_id::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
end
$$;
call app.grant_definer('app.add_password_reset(uuid,uuid,interval,jsonb,text)', '{}');

-- Return whether a mailed link may set the password of an account. Not of a System Admin: the link also removes MFA,
-- and access to a mailbox must not give access to the platform.
create function app.may_reset_password(p_user public.users) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return p_user.password_hash is not null and p_user.email_verified_at is not null and exists (
        select from app.active_users a where a.id = p_user.id and a.role <> 'System Admin');
end
$$;
call app.grant_definer('app.may_reset_password(public.users)', '{}');

-- Mail a link for a new password if the address has an account. p_key counts the mails to the address, so that the form
-- can't be used to flood a mailbox.
create function app.request_password_reset(
    p_id uuid, p_email text, p_key bytea, p_most int, p_window interval, p_lifetime interval, p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    owner uuid;
begin
    select u.id into owner from public.users u where u.email = p_email and app.may_reset_password(u);
    if app.count_attempt(p_key, p_most, p_window) > 0 then
        perform app.add_account_audit('password.forget', owner, '{}', p_request, 'refused', 'rate_limited');
        return;
    end if;
    perform app.add_password_reset(p_id, owner, p_lifetime, p_request);
    perform app.add_account_audit('password.forget', owner, jsonb_build_object('reset', p_id), p_request);
end
$$;
call app.grant_definer('app.request_password_reset(uuid,text,bytea,int,interval,interval,jsonb)',
    array['app_credentials']);

-- Return the address and name of the account that a link is for; a new password must not contain them.
create function app.password_reset_owner(p_id uuid, out email text, out name text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select u.email, u.name into password_reset_owner.email, password_reset_owner.name
    from app.password_resets r join public.users u on u.id = r.user_id
    where r.id = p_id and r.used_at is null and r.expires_at > now() and app.may_reset_password(u);
    if not found then
        perform app.refuse(404, 'link_invalid', 'Request a new link.');
    end if;
end
$$;
call app.grant_definer('app.password_reset_owner(uuid)', array['app_credentials']);

-- Set the password of the account that a link is for. All other access to the account ends: it may
-- come from a person who used the account before its owner did.
create function app.reset_password(p_id uuid, p_password_hash text, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    owner uuid;
    removed jsonb;
begin
    -- Use the link.
    perform app.get_user_for_update((select r.user_id from app.password_resets r where r.id = p_id));
    update app.password_resets r set used_at = now()
    where r.id = p_id and r.used_at is null and r.expires_at > now() returning r.user_id into owner;
    if owner is null then
        perform app.refuse(404, 'link_invalid', 'Request a new link.');
    end if;
    update public.users u set password_hash = p_password_hash where u.id = owner and app.may_reset_password(u);
    if not found then
        perform app.refuse(404, 'link_invalid', 'Contact the operator of the system.');
    end if;
    -- End all other access.
    perform app.reset_attempts(owner);
    perform app.void_links(owner);
    perform app.end_sessions(owner);
    removed := app.remove_access(owner, p_request);
    perform app.notify_account(owner, 'password_changed', p_request);
    perform app.add_account_audit('password.reset', owner, jsonb_build_object('reset', p_id, 'removed', removed),
        p_request);
end
$$;
call app.grant_definer('app.reset_password(uuid,text,jsonb)', array['app_credentials']);

-- Set the caller's password and revoke the caller's other sessions. Return false if the password has changed since the
-- present one was verified. p_key: the counter of attempts to verify it.
create function app.change_password(p_password_hash text, p_new_hash text, p_key bytea, p_request jsonb) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    update public.users u set password_hash = p_new_hash where u.id = caller and u.password_hash = p_password_hash;
    if not found then
        return false;
    end if;
    perform app.step_up(p_key, p_new_hash);
    perform app.void_links(caller);
    perform app.end_own_sessions('others');
    perform app.notify_account(caller, 'password_changed', p_request);
    return true;
end
$$;
call app.grant_definer('app.change_password(text,text,bytea,jsonb)', array['app_credentials']);

-- Insert a change of the caller's address, and mail the new address: a link, or a notice that it has an account
-- already. Both take the same time. p_keys: the counters of mails to the address and of the caller.
create function app.request_email_change(
    p_id uuid, p_email text, p_audited jsonb, p_keys bytea[], p_most int, p_window interval, p_lifetime interval,
    p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person public.users;
    known boolean := exists (select from public.users u where u.email = p_email);
    key bytea;
    limited boolean := false;
begin
    select u.* into person from public.users u where u.id = (app.claims() ->> 'sub')::uuid;
    if person.email is null or person.password_hash is null then
        perform app.refuse(403, 'forbidden', 'The account does not sign in with an email address here.');
    end if;
    foreach key in array p_keys loop
        limited := app.count_attempt(key, p_most, p_window) > 0 or limited;
    end loop;
    if limited then
        return;
    end if;
    delete from app.email_changes c where c.user_id = person.id and c.confirmed_at is null;
    insert into app.email_changes (id, user_id, old_email, new_email, expires_at, audited)
    values (p_id, person.id, person.email, p_email, now() + p_lifetime, p_audited);
    perform app.add_job(gen_random_uuid(), case when known then 'mail.email_taken' else 'mail.email_change' end,
        jsonb_build_array(p_id), p_subject_type => 'email_change', p_subject_id => p_id::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
end
$$;
call app.grant_definer('app.request_email_change(uuid,text,jsonb,bytea[],int,interval,interval,jsonb)',
    array['app_credentials']);

-- Set the new address of an account, and mail the old address a link that undoes the change.
create function app.confirm_email_change(p_id uuid, p_undo interval, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    change app.email_changes;
begin
    perform app.get_user_for_update((select c.user_id from app.email_changes c where c.id = p_id));
    update app.email_changes c set confirmed_at = now(), undo_until = now() + p_undo
    where c.id = p_id and c.confirmed_at is null and c.expires_at > now() returning * into change;
    update public.users u set email = change.new_email, email_verified_at = now(), updated_at = now()
    where u.id = change.user_id and u.email = change.old_email;
    if not found then
        perform app.refuse(404, 'link_invalid', 'Request the change again.');
    end if;
    perform app.void_links(change.user_id);
    perform app.add_job(gen_random_uuid(), 'mail.email_changed', jsonb_build_array(p_id),
        p_subject_type => 'email_change', p_subject_id => p_id::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
    perform app.add_account_audit('email.change', change.user_id, jsonb_build_object('change', p_id) || change.audited,
        p_request);
exception
    when unique_violation then
        perform app.refuse(404, 'link_invalid', 'Request the change again.');
end
$$;
call app.grant_definer('app.confirm_email_change(uuid,interval,jsonb)', array['app_credentials']);

-- Remove access to an account besides sessions: authenticators, recovery codes, API keys that the person
-- created and open invitations that the person sent. Return what was removed, for the audit trail. With p_request, the
-- person is notified if anything was removed.
create function app.remove_access(p_user_id uuid, p_request jsonb default null) returns jsonb
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    factor uuid;
    codes int;
    keys uuid[];
    invited uuid[];
begin
    delete from app.totp_factors f where f.user_id = p_user_id and f.confirmed_at is null;
    delete from app.totp_factors f where f.user_id = p_user_id returning f.id into factor;
    with gone as (
        delete from app.recovery_codes c where c.user_id = p_user_id returning c.used_at
    ) select count(*) filter (where g.used_at is null) into codes from gone g;
    with revoked as (
        update app.api_keys k set revoked_at = now()
        where k.created_by = p_user_id and k.revoked_at is null and k.expires_at > now() returning k.id
    ) select coalesce(array_agg(r.id order by r.id), '{}') into keys from revoked r;
    with revoked as (
        update app.invitations i set revoked_at = now()
        where i.invited_by = p_user_id and i.used_at is null and i.revoked_at is null and i.expires_at > now()
        returning i.id
    ) select coalesce(array_agg(r.id order by r.id), '{}') into invited from revoked r;
    if p_request is not null and (factor is not null or codes > 0 or keys <> '{}' or invited <> '{}') then
        perform app.notify_account(p_user_id, 'access_removed', p_request);
    end if;
    return jsonb_build_object('authenticator', factor, 'recovery_codes', codes, 'api_keys', keys,
        'invitations', invited);
end
$$;
call app.grant_definer('app.remove_access(uuid,jsonb)', '{}');

-- Restore the old address of an account, revoke its sessions and all other access, and mail the address a link for a
-- new password. The person who changed the address knew the password, so p_password_hash, of a random password,
-- replaces it. Later changes of the address are undone, too.
create function app.undo_email_change(
    p_id uuid, p_password_hash text, p_reset_id uuid, p_lifetime interval, p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    change app.email_changes;
    present jsonb;
    removed jsonb;
begin
    perform app.get_user_for_update((select c.user_id from app.email_changes c where c.id = p_id));
    -- Find the change, and the address of the newest change for the audit entry.
    select c.* into change from app.email_changes c
    where c.id = p_id and c.undone_at is null and c.undo_until > now() for update;
    if not found then
        perform app.refuse(404, 'link_invalid', 'Contact the operator of the system.');
    end if;
    select c.audited -> 'after' into present from app.email_changes c
    where c.user_id = change.user_id and c.confirmed_at is not null and c.undone_at is null
    order by c.created_at desc limit 1;
    -- Undo this change and all later ones.
    update app.email_changes c set undone_at = now()
    where c.user_id = change.user_id and c.created_at >= change.created_at and c.confirmed_at is not null;
    update public.users u set email = change.old_email, password_hash = p_password_hash, updated_at = now()
    where u.id = change.user_id;
    -- End all access.
    perform app.void_links(change.user_id);
    perform app.end_sessions(change.user_id);
    removed := app.remove_access(change.user_id);
    perform app.reset_attempts(change.user_id);
    perform app.add_password_reset(p_reset_id, change.user_id, p_lifetime, p_request, 'mail.email_undone');
    perform app.add_account_audit('email.undo', change.user_id,
        jsonb_build_object('change', p_id, 'before', present, 'after', change.audited -> 'before', 'removed', removed),
        p_request);
exception
    when unique_violation then
        perform app.refuse(404, 'link_invalid', 'Another account has this address now.');
end
$$;
call app.grant_definer('app.undo_email_change(uuid,text,uuid,interval,jsonb)', array['app_credentials']);
