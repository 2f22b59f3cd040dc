-- The second factor: authenticators (RFC 6238), and codes for the day that one is lost.

create table app.totp_factors (
    id uuid primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    secret bytea not null, -- AES-256-GCM, bound to user_id
    key_version int not null,
    created_at timestamptz not null default now(),
    confirmed_at timestamptz, -- null: nobody has shown a code of it, and it counts for nothing
    last_step bigint not null default 0 -- the time step of the last code taken: none is good twice
);
create unique index totp_factors_confirmed on app.totp_factors (user_id) where confirmed_at is not null;
create unique index totp_factors_asked_for on app.totp_factors (user_id) where confirmed_at is null;

create table app.recovery_codes (
    user_id uuid not null references public.users (id) on delete cascade,
    hash bytea not null, -- keyed
    used_at timestamptz,
    primary key (user_id, hash)
);

call app.secure('app.totp_factors');
call app.secure('app.recovery_codes');

-- Refuses whoever has an authenticator and has not shown a code of it in this session.
create function app.require_mfa() returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (app.person_of_session((app.claims() ->> 'session_id')::uuid)).mfa_required = 'verify' then
        perform app.refuse(403, 'mfa_required', 'Show the second factor first.');
    end if;
end
$$;
call app.grant_definer('app.require_mfa()', '{}');

-- Puts down an authenticator for the caller, instead of any that was not confirmed.
create function app.enrol_totp(p_id uuid, p_secret bytea, p_key_version int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform app.require_mfa();
    perform from public.users u where u.id = caller and not u.is_anonymous for no key update;
    if not found then
        perform app.refuse(403, 'forbidden', 'Sign up first: there is no first factor.');
    end if;
    delete from app.totp_factors f where f.user_id = caller and f.confirmed_at is null;
    insert into app.totp_factors (id, user_id, secret, key_version) values (p_id, caller, p_secret, p_key_version);
end
$$;
call app.grant_definer('app.enrol_totp(uuid,bytea,int)', array['app_credentials']);

-- Counts an attempt of the caller to show a code, and returns the authenticator that it should be of: the confirmed one,
-- or the one that waits for it. Only who knows the password gets here, so strangers can't use the attempts up; and so the
-- owner is told, once in a window, when they are.
create function app.begin_mfa_attempt(
    p_confirmed boolean, p_key bytea, p_most int, p_window interval, p_request jsonb,
    out id uuid, out secret bytea, out key_version int, out retry_after int
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    retry_after := app.count_attempt(p_key, p_most, p_window, (app.claims() ->> 'sub')::uuid);
    if p_confirmed and exists (select from app.sign_in_attempts a where a.key = p_key and a.attempts = p_most + 1) then
        perform app.notify_account((app.claims() ->> 'sub')::uuid, 'codes_used_up', p_request);
    end if;
    select f.id, f.secret, f.key_version into begin_mfa_attempt.id, begin_mfa_attempt.secret, begin_mfa_attempt.key_version
    from app.totp_factors f
    where f.user_id = (app.claims() ->> 'sub')::uuid and (f.confirmed_at is not null) = p_confirmed;
end
$$;
call app.grant_definer('app.begin_mfa_attempt(boolean,bytea,int,interval,jsonb)', array['app_credentials']);

-- The caller's session has shown the second factor: it may do everything from now on, and counts as recent.
create function app.elevate_session(p_key bytea) returns app.session_person
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.sessions s set aal = 'aal2', authenticated_at = now()
    where s.id = (app.claims() ->> 'session_id')::uuid and s.user_id = (app.claims() ->> 'sub')::uuid;
    delete from app.sign_in_attempts a where a.key = p_key;
    return app.person_of_session((app.claims() ->> 'session_id')::uuid);
end
$$;
call app.grant_definer('app.elevate_session(bytea)', '{}');

-- Takes the code of a time step, unless one of that step or a later one has been taken; who the session belongs to.
-- p_secret and p_key_version seal the secret anew, with today's key; null: it is.
create function app.use_totp_code(p_id uuid, p_step bigint, p_secret bytea, p_key_version int, p_key bytea)
returns setof app.session_person language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.totp_factors f set last_step = p_step, secret = coalesce(p_secret, f.secret),
        key_version = coalesce(p_key_version, f.key_version)
    where f.id = p_id and f.user_id = (app.claims() ->> 'sub')::uuid and f.confirmed_at is not null
        and f.last_step < p_step;
    if found then
        return next app.elevate_session(p_key);
    end if;
end
$$;
call app.grant_definer('app.use_totp_code(uuid,bigint,bytea,int,bytea)', array['app_credentials']);

-- Takes a recovery code; p_hashes are what it may be stored as. Who the session belongs to; no row if it is none.
create function app.use_recovery_code(p_hashes bytea[], p_key bytea, p_request jsonb)
returns setof app.session_person language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.recovery_codes c set used_at = now()
    where c.user_id = (app.claims() ->> 'sub')::uuid and c.hash = any (p_hashes) and c.used_at is null;
    if found then
        perform app.notify_account((app.claims() ->> 'sub')::uuid, 'recovery_code_used', p_request);
        return next app.elevate_session(p_key);
    end if;
end
$$;
call app.grant_definer('app.use_recovery_code(bytea[],bytea,jsonb)', array['app_credentials']);

-- Gives the caller other recovery codes than before, and tells them so unless they are told of the authenticator.
create function app.replace_recovery_codes(p_hashes bytea[], p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform from app.totp_factors f where f.user_id = caller and f.confirmed_at is not null for update;
    if not found then
        perform app.refuse(409, 'mfa_not_enrolled', 'Enrol an authenticator first.');
    end if;
    delete from app.recovery_codes c where c.user_id = caller;
    insert into app.recovery_codes (user_id, hash) select caller, h from unnest(p_hashes) h;
    if p_request is not null then
        perform app.notify_account(caller, 'recovery_codes_replaced', p_request);
    end if;
end
$$;
call app.grant_definer('app.replace_recovery_codes(bytea[],jsonb)', array['app_credentials']);

-- Makes the authenticator that waits for it the caller's, instead of any other, with new recovery codes. The caller's
-- other sessions end: whoever opened them has not shown a code of it.
create function app.confirm_totp(p_id uuid, p_step bigint, p_hashes bytea[], p_key bytea, p_request jsonb)
returns setof app.session_person language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform app.require_mfa();
    perform from app.totp_factors f where f.id = p_id and f.user_id = caller and f.confirmed_at is null for update;
    if not found then
        return;
    end if;
    delete from app.totp_factors f where f.user_id = caller and f.confirmed_at is not null;
    update app.totp_factors f set confirmed_at = now(), last_step = p_step where f.id = p_id;
    perform app.replace_recovery_codes(p_hashes, null);
    perform app.end_own_sessions('others');
    perform app.notify_account(caller, 'mfa_enabled', p_request);
    return next app.elevate_session(p_key);
end
$$;
call app.grant_definer('app.confirm_totp(uuid,bigint,bytea[],bytea,jsonb)',
    array['app_credentials']);

-- Takes the caller's authenticator and recovery codes away, unless their role or their brand asks for one.
create function app.remove_totp(p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform app.require_mfa();
    if (select u.mfa_required_from <= now() from app.active_users u where u.id = caller) then
        perform app.refuse(409, 'mfa_mandatory', 'You have to have an authenticator; enrol another instead.');
    end if;
    delete from app.totp_factors f where f.user_id = caller and f.confirmed_at is not null;
    if not found then
        perform app.refuse(409, 'mfa_not_enrolled', 'There is no authenticator.');
    end if;
    delete from app.recovery_codes c where c.user_id = caller;
    perform app.notify_account(caller, 'mfa_disabled', p_request);
end
$$;
call app.grant_definer('app.remove_totp(jsonb)', array['app_credentials']);

-- Takes somebody's authenticator and recovery codes away, who has lost both: an admin has made sure who they are. All of
-- their sessions end, and they are told. Where there has to be one, they enrol another before they may do anything else.
create function app.reset_mfa(p_user_id uuid, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_user_id = (app.claims() ->> 'sub')::uuid then
        perform app.refuse(409, 'own_account', 'Enrol another authenticator instead.');
    end if;
    perform from public.users u where u.id = p_user_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    delete from app.totp_factors f where f.user_id = p_user_id and f.confirmed_at is not null;
    if not found then
        perform app.refuse(409, 'mfa_not_enrolled', 'There is no authenticator.');
    end if;
    delete from app.totp_factors f where f.user_id = p_user_id;
    delete from app.recovery_codes c where c.user_id = p_user_id;
    perform app.reset_attempts(p_user_id);
    perform app.end_sessions(p_user_id);
    perform app.notify_account(p_user_id, 'mfa_disabled', p_request);
end
$$;
call app.grant_definer('app.reset_mfa(uuid,jsonb)', array['app_admin']);

-- Whether the caller has an authenticator, since when, how many recovery codes are left, and from when on there has to be one.
create function app.mfa_status(
    out confirmed_at timestamptz, out recovery_codes_left int, out required_from timestamptz
)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select f.confirmed_at into mfa_status.confirmed_at from app.totp_factors f
    where f.user_id = (app.claims() ->> 'sub')::uuid and f.confirmed_at is not null;
    select count(*) into recovery_codes_left from app.recovery_codes c
    where c.user_id = (app.claims() ->> 'sub')::uuid and c.used_at is null;
    select u.mfa_required_from into required_from
    from app.active_users u where u.id = (app.claims() ->> 'sub')::uuid;
end
$$;
call app.grant_definer('app.mfa_status()', array['app_credentials']);
