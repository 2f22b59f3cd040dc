-- MFA: authenticators (RFC 6238), and recovery codes for a lost authenticator.

create table app.totp_factors (
    id uuid primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    secret bytea not null, -- AES-256-GCM, bound to user_id
    key_version int not null,
    created_at timestamptz not null default now(),
    confirmed_at timestamptz, -- null: no code was verified yet, so it has no effect
    last_step bigint not null default 0 -- time step of the last used code: no code is valid twice
);
create unique index totp_factors_confirmed on app.totp_factors (user_id) where confirmed_at is not null;
create unique index totp_factors_asked_for on app.totp_factors (user_id) where confirmed_at is null;

create table app.recovery_codes (
    user_id uuid not null references public.users (id) on delete cascade,
    hash bytea not null, -- keyed
    used_at timestamptz,
    primary key (user_id, hash)
);

call app.secure('app.totp_factors', p_definer_only => true);
call app.secure('app.recovery_codes', p_definer_only => true);

-- Refuse the caller if the account has an authenticator and the session has verified no code of it.
create function app.require_mfa() returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    if (app.person_of_session((app.claims() ->> 'session_id')::uuid)).mfa_required = 'verify' then
        perform app.refuse(403, 'mfa_required', 'Verify a code of the authenticator first.');
    end if;
end
$$;
call app.grant_definer('app.require_mfa()', '{}');

-- Insert an unconfirmed authenticator of the caller, in place of any other unconfirmed one.
create function app.enrol_totp(p_id uuid, p_secret bytea, p_key_version int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform app.require_mfa();
    perform from public.users u where u.id = caller and not u.is_anonymous for no key update;
    if not found then
        perform app.refuse(403, 'forbidden', 'Sign up first: an anonymous account has no password.');
    end if;
    delete from app.totp_factors f where f.user_id = caller and f.confirmed_at is null;
    insert into app.totp_factors (id, user_id, secret, key_version) values (p_id, caller, p_secret, p_key_version);
end
$$;
call app.grant_definer('app.enrol_totp(uuid,bytea,int)', array['app_credentials']);

-- Count an attempt of the caller to verify a code. Return the authenticator to verify it with: the confirmed one, or
-- the unconfirmed one. A session, and so the password, is required: strangers can't use up the attempts. If they are
-- used up, a stranger may know the password, and the account's owner is notified once in a window.
create function app.begin_mfa_attempt(
    p_confirmed boolean, p_key bytea, p_most int, p_window interval, p_request jsonb,
    out id uuid, out secret bytea, out key_version int, out retry_after int
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    retry_after := app.count_attempt(p_key, p_most, p_window, (app.claims() ->> 'sub')::uuid);
    if p_confirmed and exists (select from app.sign_in_attempts a where a.key = p_key and a.attempts = p_most + 1) then
        perform app.notify_account((app.claims() ->> 'sub')::uuid, 'codes_used_up', p_request);
    end if;
    select f.id, f.secret, f.key_version
    into begin_mfa_attempt.id, begin_mfa_attempt.secret, begin_mfa_attempt.key_version
    from app.totp_factors f
    where f.user_id = (app.claims() ->> 'sub')::uuid and (f.confirmed_at is not null) = p_confirmed;
end
$$;
call app.grant_definer('app.begin_mfa_attempt(boolean,bytea,int,interval,jsonb)', array['app_credentials']);

-- Raise the caller's session to aal2, mark it as recently authenticated, and delete the counter of attempts.
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

-- Use the code of a time step. Return the session's person, or no row if a code of that step or a later one was used.
-- p_secret and p_key_version: the secret, encrypted with the active key; null if it is already.
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

-- Use a recovery code. p_hashes: its hash under each known root. Return the session's person, or no row if it is not
-- valid.
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

-- Replace the caller's recovery codes. With p_request, notify the caller.
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

-- Confirm the caller's new authenticator, in place of any other, with new recovery codes. The caller's other sessions
-- are revoked: no code was verified in them.
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

-- Delete the caller's authenticator and recovery codes, unless the role or the brand requires MFA.
create function app.remove_totp(p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    perform app.require_mfa();
    if (select u.mfa_required_from <= now() from app.active_users u where u.id = caller) then
        perform app.refuse(409, 'mfa_mandatory',
            'Your role or brand requires an authenticator: enrol another one instead.');
    end if;
    delete from app.totp_factors f where f.user_id = caller and f.confirmed_at is not null;
    if not found then
        perform app.refuse(409, 'mfa_not_enrolled', 'The account has no authenticator.');
    end if;
    delete from app.recovery_codes c where c.user_id = caller;
    perform app.notify_account(caller, 'mfa_disabled', p_request);
end
$$;
call app.grant_definer('app.remove_totp(jsonb)', array['app_credentials']);

-- Delete the authenticator and recovery codes of a user who has lost both, revoke the user's sessions and notify the
-- user. A system admin has verified the user's identity before.
create function app.reset_mfa(p_user_id uuid, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if p_user_id = (app.claims() ->> 'sub')::uuid then
        perform app.refuse(409, 'own_account', 'Enrol another authenticator instead of resetting your own.');
    end if;
    perform from public.users u where u.id = p_user_id;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    delete from app.totp_factors f where f.user_id = p_user_id and f.confirmed_at is not null;
    if not found then
        perform app.refuse(409, 'mfa_not_enrolled', 'The account has no authenticator.');
    end if;
    delete from app.totp_factors f where f.user_id = p_user_id;
    delete from app.recovery_codes c where c.user_id = p_user_id;
    perform app.reset_attempts(p_user_id);
    perform app.end_sessions(p_user_id);
    perform app.notify_account(p_user_id, 'mfa_disabled', p_request);
end
$$;
call app.grant_definer('app.reset_mfa(uuid,jsonb)', array['app_admin']);

-- Return the time since when the caller has an authenticator (null: none), the number of unused recovery codes, and the
-- time from which an authenticator is required (null: it is not).
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
