-- Refresh, end and step-up of sessions.

-- All refresh tokens of a session, as hashes. Each is valid once and has one successor. The successor is stored
-- encrypted with the token before it: a client whose response was lost sends the same token again and gets the same
-- successor.
create table app.refresh_tokens (
    hash bytea primary key,
    session_id uuid not null references app.sessions (id) on delete cascade,
    created_at timestamptz not null default now(),
    used_at timestamptz,
    successor bytea,                       -- the next token, encrypted with this one
    successor_hash bytea,                  -- finds the next token
    constraint refresh_tokens_used_with_successor check (
        (used_at is null) = (successor is null) and (used_at is null) = (successor_hash is null))
);
create index refresh_tokens_session on app.refresh_tokens (session_id);
call app.secure('app.refresh_tokens', p_definer_only => true);

-- Use a refresh token and make p_next_hash its successor. A used token returns the same successor within p_grace, and
-- later while the successor is unused: the response may have been lost. Otherwise two clients have the token, and the
-- session is revoked. A session is refreshed p_most times an hour at most, because each refresh stores a row for
-- p_idle. outcome: `ok` (with the successor), `invalid`, `reused` or `too_many`.
create function app.refresh_session(
    p_hash bytea, p_next_hash bytea, p_successor bytea, p_grace interval, p_idle interval, p_most int,
    p_request jsonb, out outcome text, out successor bytea, out session_id uuid, out person app.session_person
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    token app.refresh_tokens;
    session app.sessions;
begin
    -- Lock the token, then its session.
    outcome := 'invalid';
    select t.* into token from app.refresh_tokens t where t.hash = p_hash for update;
    if not found then
        return;
    end if;
    select s.* into session from app.sessions s where s.id = token.session_id for update;
    if not exists (select from app.live_sessions l where l.id = session.id) then
        -- The audit entry of the refusal names the person.
        session_id := session.id;
        select u.id, r.name, u.brand_id into person.id, person.role, person.brand_id
        from public.users u join public.roles r on r.id = u.role_id where u.id = session.user_id;
        return;
    end if;
    -- Limit the refreshes of an hour.
    if token.used_at is null and p_most <= (
        select count(*) from app.refresh_tokens t
        where t.session_id = session.id and t.used_at > now() - interval '1 hour')
    then
        outcome := 'too_many';
        return;
    -- First use.
    elsif token.used_at is null then
        update app.refresh_tokens t set used_at = now(), successor = p_successor, successor_hash = p_next_hash
        where t.hash = p_hash;
        insert into app.refresh_tokens (hash, session_id) values (p_next_hash, session.id);
        update app.sessions s set refreshed_at = now(), expires_at = least(now() + p_idle, s.ends_at)
        where s.id = session.id;
        successor := p_successor;
    -- Second use at once, for example by two tabs.
    elsif token.used_at > now() - p_grace then
        successor := token.successor;
    -- Second use after a lost response.
    elsif exists (
        select from app.refresh_tokens n where n.hash = token.successor_hash and n.used_at is null)
    then
        successor := token.successor;
        perform app.add_account_audit('session.refresh', session.user_id,
            jsonb_build_object('session', session.id, 'repeated', true), p_request);
    -- Two clients have the token.
    else
        outcome := 'reused';
        update app.sessions s set revoked_at = now() where s.id = session.id;
        perform app.add_account_audit('session.refresh', session.user_id, jsonb_build_object('session', session.id),
            p_request, 'refused', 'refresh_token_reused');
        return;
    end if;
    outcome := 'ok';
    session_id := session.id;
    person := app.person_of_session(session.id);
end
$$;
call app.grant_definer('app.refresh_session(bytea,bytea,bytea,interval,interval,int,jsonb)', array['app_credentials']);

-- Return the caller's live sessions after (p_created_at, p_id), newest first.
create function app.own_sessions(p_created_at timestamptz, p_id uuid, p_limit int) returns table (
    id uuid, created_at timestamptz, refreshed_at timestamptz, authenticated_at timestamptz, expires_at timestamptz,
    address text, user_agent text
) language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select s.id, s.created_at, s.refreshed_at, s.authenticated_at, s.expires_at, s.address, s.user_agent
    from app.live_sessions s
    where s.user_id = (app.claims() ->> 'sub')::uuid
        and (p_id is null or (s.created_at, s.id) < (p_created_at, p_id))
    order by s.created_at desc, s.id desc limit p_limit;
end
$$;
call app.grant_definer('app.own_sessions(timestamptz,uuid,int)', array['app_credentials']);

-- Revoke the caller's sessions: `this` one, the `others`, or `all`. Return their number.
create function app.end_own_sessions(p_scope text) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ended int;
begin
    update app.sessions s set revoked_at = now()
    from app.live_sessions l
    where l.id = s.id and s.user_id = (app.claims() ->> 'sub')::uuid and s.revoked_at is null
        and case p_scope
            when 'this' then s.id = (app.claims() ->> 'session_id')::uuid
            when 'others' then s.id <> (app.claims() ->> 'session_id')::uuid
            else p_scope = 'all'
        end;
    get diagnostics ended = row_count;
    return ended;
end
$$;
call app.grant_definer('app.end_own_sessions(text)', array['app_credentials']);

-- Revoke one of the caller's sessions.
create function app.end_session(p_session_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.sessions s set revoked_at = now()
    from app.live_sessions l
    where l.id = s.id and s.id = p_session_id and s.user_id = (app.claims() ->> 'sub')::uuid and s.revoked_at is null;
    if not found then
        perform app.refuse(404, 'not_found', 'You have no such session.');
    end if;
end
$$;
call app.grant_definer('app.end_session(uuid)', array['app_credentials']);

-- Refuse the caller's session unless a password or a code was verified within p_within. An anonymous fan has neither
-- and passes: only the session identifies such a person.
create function app.require_recent(p_within interval) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from app.sessions s join public.users u on u.id = s.user_id
    where s.id = (app.claims() ->> 'session_id')::uuid and s.user_id = (app.claims() ->> 'sub')::uuid
        and (s.authenticated_at > now() - p_within or u.is_anonymous);
    if not found then
        perform app.refuse(403, 'recent_authentication_required',
            'Confirm your identity (POST /api/v1/auth/step-up, or at the sign-in service), then repeat the request.');
    end if;
end
$$;
call app.grant_definer('app.require_recent(interval)',
    array['authenticated', 'app_fan', 'app_admin', 'app_credentials']);

-- Count a step-up attempt of the caller. Return the caller's password hash. A session of the account is required, so
-- strangers can't use up the attempts. With an authenticator the password alone is not enough.
create function app.begin_step_up(
    p_key bytea, p_most int, p_window interval, out password_hash text, out retry_after int
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.require_mfa();
    retry_after := app.count_attempt(p_key, p_most, p_window, (app.claims() ->> 'sub')::uuid);
    select u.password_hash into begin_step_up.password_hash
    from public.users u where u.id = (app.claims() ->> 'sub')::uuid;
end
$$;
call app.grant_definer('app.begin_step_up(bytea,int,interval)', array['app_credentials']);

-- Mark the caller's session as recently authenticated, and delete the counter of attempts. Return false if the password
-- has changed since it was verified.
create function app.step_up(p_key bytea, p_password_hash text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.sessions s set authenticated_at = now()
    from public.users u
    where s.id = (app.claims() ->> 'session_id')::uuid and s.user_id = (app.claims() ->> 'sub')::uuid
        and u.id = s.user_id and u.password_hash = p_password_hash;
    if not found then
        return false;
    end if;
    delete from app.sign_in_attempts a where a.key = p_key;
    return true;
end
$$;
call app.grant_definer('app.step_up(bytea,text)', array['app_credentials']);
