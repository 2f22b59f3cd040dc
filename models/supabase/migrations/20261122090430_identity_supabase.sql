-- Rows for users who sign in at a Supabase project. The first token of a user inserts them.

-- Deleted users. A token of a deleted user stays valid for a while and must not insert the user again.
create table app.deleted_users (
    user_id uuid primary key,
    deleted_at timestamptz not null default now()
);
call app.secure('app.deleted_users', p_definer_only => true);

create function app.record_deleted_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.deleted_users (user_id) values (old.id) on conflict do nothing;
    return null;
end
$$;
call app.grant_definer('app.record_deleted_user()', '{}');
create trigger record_deleted_user after delete on public.users
    for each row execute function app.record_deleted_user();

-- Insert the user of a verified token: with the role in the token, else that of an open invitation to the address, else
-- as a Fan. p_confirmed: the project confirms that addresses belong to their users.
create function app.mirror_user(
    p_id uuid, p_email text, p_confirmed boolean, p_is_anonymous boolean, p_role text, p_brand_id uuid, p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    invitation app.invitations;
    chosen_role text := coalesce(p_role, 'Fan');
    chosen_brand uuid := p_brand_id;
begin
    -- Accept the newest open invitation to a confirmed address.
    if p_role is null and p_confirmed and not p_is_anonymous then
        update app.invitations i set used_at = now()
        where i.id = (
            select w.id from app.invitations w join public.brands b on b.id = w.brand_id
            where w.email = p_email and w.used_at is null and w.revoked_at is null and w.expires_at > now()
                and b.archived_at is null and app.sender_may_invite(w)
            order by w.created_at desc limit 1 for update of w)
        returning * into invitation;
        if found then
            select r.name into chosen_role from public.roles r where r.id = invitation.role_id;
            chosen_brand := invitation.brand_id;
        end if;
    end if;
    -- Insert the user. The constraints refuse a role without its brand and an address in use.
    insert into public.users (id, email, role_id, brand_id, is_anonymous, identity_provider, email_verified_at)
    select p_id, p_email, r.id, chosen_brand, p_is_anonymous, 'supabase',
        case when p_confirmed and p_email is not null then now() end
    from public.roles r where r.name = chosen_role;
    if not found then
        perform app.refuse(403, 'unknown_role', 'app_metadata names a role that does not exist.');
    end if;
    if not p_is_anonymous then
        perform app.add_account_audit('account.mirror', p_id,
            jsonb_build_object('invitation', invitation.id, 'after', app.membership_of(p_id)), p_request);
    end if;
exception
    when unique_violation then
        perform app.refuse(403, 'email_of_other_account', 'Another account has this address.');
    when foreign_key_violation or check_violation then
        perform app.refuse(403, 'unknown_role',
            'app_metadata names a role without its brand, or a brand that does not exist.');
end
$$;
call app.grant_definer('app.mirror_user(uuid,text,boolean,boolean,text,uuid,jsonb)', '{}');

-- Update a user by a newer token: another address, or an anonymous fan who has signed up. The account may have changed
-- hands then: sessions that began before p_since are revoked, and unknown older ones are refused.
create function app.update_mirrored_user(
    p_person public.users, p_email text, p_confirmed boolean, p_is_anonymous boolean, p_since timestamptz
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    address text := p_email;
begin
    if p_person.email is not distinct from p_email
        and p_person.is_anonymous = (p_is_anonymous and p_person.is_anonymous)
    then
        return;
    end if;
    -- Two users of Supabase may have the same address. The second one gets no address here and loses the old one.
    if exists (select from public.users u where u.email = p_email and u.id <> p_person.id) then
        address := null;
    end if;
    update public.users u set email = address, is_anonymous = p_is_anonymous and u.is_anonymous, updated_at = now(),
        identity_provider = coalesce(u.identity_provider, 'supabase'),
        email_verified_at = case when p_confirmed and address is not null then now() end
    where u.id = p_person.id
        and (u.email is distinct from address or u.is_anonymous <> (p_is_anonymous and u.is_anonymous));
    if not found then
        return;
    end if;
    update public.users u set sessions_since = greatest(u.sessions_since, p_since) where u.id = p_person.id;
    update app.sessions s set revoked_at = now()
    where s.user_id = p_person.id and s.revoked_at is null
        and coalesce(s.authenticated_at, '-infinity') < p_since;
end
$$;
call app.grant_definer('app.update_mirrored_user(public.users,text,boolean,boolean,timestamptz)', '{}');

-- Insert the session of a verified token, or update it. p_shown: time of the newest authentication in the token.
create function app.save_mirrored_session(
    p_session_id uuid, p_user_id uuid, p_aal text, p_shown timestamptz, p_idle interval, p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    session app.sessions;
    unknown boolean;
begin
    select * into session from app.sessions s where s.id = p_session_id;
    if not found then
        -- As in app.start_session: store neither address nor user agent of an anonymous fan.
        select u.is_anonymous into unknown from public.users u where u.id = p_user_id;
        insert into app.sessions (id, user_id, expires_at, aal, authenticated_at, address, user_agent)
        values (p_session_id, p_user_id, now() + p_idle, p_aal, p_shown,
            case when not unknown then p_request ->> 'address' end,
            case when not unknown then p_request ->> 'user_agent' end)
        on conflict (id) do nothing;
        if found and not unknown then
            perform app.add_account_audit('session.start', p_user_id, jsonb_build_object('session', p_session_id),
                p_request);
        end if;
    elsif p_shown > coalesce(session.authenticated_at, '-infinity') or p_aal > session.aal
        or session.expires_at < now() + p_idle - interval '1 day'
    then
        -- Prolong the row of a revoked session, too: as long as tokens of it arrive, the row is needed to refuse them.
        update app.sessions s set expires_at = now() + p_idle, refreshed_at = now(), aal = greatest(s.aal, p_aal),
            authenticated_at = greatest(s.authenticated_at, p_shown)
        where s.id = p_session_id and s.user_id = p_user_id;
    end if;
end
$$;
call app.grant_definer('app.save_mirrored_session(uuid,uuid,text,timestamptz,interval,jsonb)', '{}');

-- Insert or update the user and the session of a verified token, and return both; no row if the session was revoked
-- here. Role and brand in the token count for a new user only: afterwards they are changed here.
create function app.mirror_session(
    p_session_id uuid, p_user_id uuid, p_email text, p_confirmed boolean, p_is_anonymous boolean, p_role text,
    p_brand_id uuid, p_aal text, p_authenticated_at bigint, p_issued_at bigint, p_idle interval, p_request jsonb
) returns table (email text, is_anonymous boolean, user_role text, brand_id uuid, mfa_pending boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    person public.users;
    shown timestamptz := case
        when p_authenticated_at is not null then least(to_timestamp(p_authenticated_at), now())
    end;
    -- A token that was issued within 2 seconds of its newest authentication dates a change. Otherwise the change may
    -- have happened up to the moment of issue.
    since timestamptz := case when p_issued_at - p_authenticated_at <= 2 then shown
        else least(to_timestamp(p_issued_at), now()) end;
begin
    -- Wait for a concurrent deletion. The user is in app.deleted_users afterwards.
    select * into person from public.users u where u.id = p_user_id for key share;
    if not found then
        -- Let one of several concurrent requests insert the user. The unique keys are not enough: the second request
        -- could conflict with its own address before its own id, and answer that the address is taken.
        perform pg_advisory_xact_lock(hashtextextended('app.mirror_user:' || p_user_id, 0));
        select * into person from public.users u where u.id = p_user_id for key share;
    end if;
    if person.id is null then
        if exists (select from app.deleted_users d where d.user_id = p_user_id) then
            perform app.refuse(401, 'account_closed', 'This account has been deleted.');
        end if;
        perform app.mirror_user(p_user_id, p_email, p_confirmed, p_is_anonymous, p_role, p_brand_id, p_request);
    else
        if not exists (select from app.active_users a where a.id = person.id) then
            perform app.refuse(401, 'account_suspended', 'The account is suspended, or its brand is archived.');
        end if;
        -- Ignore the contents of an outdated token.
        if coalesce(shown, '-infinity') < person.sessions_since and not exists (
            select from app.sessions s where s.id = p_session_id and s.user_id = p_user_id and s.revoked_at is null)
        then
            update app.sessions s set expires_at = now() + p_idle
            where s.id = p_session_id and s.user_id = p_user_id and s.expires_at < now() + p_idle - interval '1 day';
            return;
        end if;
        perform app.update_mirrored_user(person, p_email, p_confirmed, p_is_anonymous, since);
        if coalesce(shown, '-infinity') < (select u.sessions_since from public.users u where u.id = p_user_id)
            and not exists (
                select from app.sessions s where s.id = p_session_id and s.user_id = p_user_id and s.revoked_at is null)
        then
            return;
        end if;
    end if;
    perform app.save_mirrored_session(p_session_id, p_user_id, p_aal, shown, p_idle, p_request);
    -- The token's level counts here, not the session's: an older token of the session may have a lower one.
    return query select l.email, l.is_anonymous, l.role, l.brand_id,
            p_aal <> 'aal2' and coalesce(l.mfa_required_from <= now(), false)
        from app.live_sessions l where l.id = p_session_id and l.user_id = p_user_id;
end
$$;
call app.grant_definer(
    'app.mirror_session(uuid,uuid,text,boolean,boolean,text,uuid,text,bigint,bigint,interval,jsonb)',
    array['app_credentials']);
