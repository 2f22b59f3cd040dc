-- Sign-up and sign-in. The callers have no session yet.
--
-- p_request is the origin of a call: {"request_id", "correlation_id", "address", "user_agent"}.

-- The person of a session, as the access token describes the person. mfa_required: see app.live_sessions.
create type app.session_person as (
    id uuid, email text, name text, locale text, role text, brand_id uuid, is_anonymous boolean, aal text,
    mfa_required text
);

-- Insert a session that expires after p_idle without a refresh, and after p_lifetime in any case.
create function app.start_session(
    p_session_id uuid, p_user_id uuid, p_idle interval, p_lifetime interval, p_refresh_hash bytea, p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- An anonymous fan has given no consent yet: store neither address nor user agent.
    insert into app.sessions (id, user_id, expires_at, ends_at, address, user_agent)
    select p_session_id, u.id, now() + least(p_idle, p_lifetime), now() + p_lifetime,
        case when not u.is_anonymous then p_request ->> 'address' end,
        case when not u.is_anonymous then p_request ->> 'user_agent' end
    from public.users u where u.id = p_user_id;
    insert into app.refresh_tokens (hash, session_id) values (p_refresh_hash, p_session_id);
end
$$;
call app.grant_definer('app.start_session(uuid,uuid,interval,interval,bytea,jsonb)', '{}');

-- Add an audit entry for a caller without a token, to the chain of the user's brand.
create function app.add_account_audit(
    p_action text, p_user_id uuid, p_details jsonb, p_request jsonb, p_outcome text default 'ok',
    p_reason text default null
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_audit(
        gen_random_uuid(), p_action, 'users', p_user_id, null, p_details, p_outcome, p_reason,
        (select u.brand_id from public.users u where u.id = p_user_id), p_user_id,
        p_request ->> 'request_id', p_request ->> 'address', p_request ->> 'user_agent');
end
$$;
call app.grant_definer('app.add_account_audit(text,uuid,jsonb,jsonb,text,text)', '{}');

-- Return the role and the brand of a user, for audit entries.
create function app.membership_of(p_user_id uuid) returns jsonb
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select jsonb_build_object('role', r.name, 'brand_id', u.brand_id, 'is_anonymous', u.is_anonymous)
        from public.users u join public.roles r on r.id = u.role_id where u.id = p_user_id);
end
$$;
call app.grant_definer('app.membership_of(uuid)', '{}');

-- Store or renew the one open sign-up of an address and mail its link, or mail that the address has an account. Both do
-- the same work. p_key counts the mails to the address: over the limit, the link that was mailed before stays valid.
create function app.sign_up(
    p_id uuid, p_email text, p_locale text, p_key bytea, p_most int, p_window interval, p_lifetime interval,
    p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    signup uuid;
    known boolean := exists (select from public.users u where u.email = p_email);
begin
    if app.count_attempt(p_key, p_most, p_window) > 0 then
        perform app.add_account_audit('account.signup', null, '{}', p_request, 'refused', 'rate_limited');
        return;
    end if;
    -- An open sign-up keeps its id, and so its link.
    insert into app.signups as s (id, email, locale, expires_at) values (p_id, p_email, p_locale, now() + p_lifetime)
    on conflict (email) do update set
        id = case when s.expires_at > now() then s.id else excluded.id end,
        locale = excluded.locale, expires_at = excluded.expires_at
    returning s.id into signup;
    perform app.add_job(gen_random_uuid(), case when known then 'mail.account_exists' else 'mail.verification' end,
        jsonb_build_array(signup), p_subject_type => 'signup', p_subject_id => signup::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
    perform app.add_account_audit('account.signup', null, jsonb_build_object('signup', signup), p_request);
end
$$;
call app.grant_definer('app.sign_up(uuid,text,text,bytea,int,interval,interval,jsonb)', array['app_credentials']);

-- Return the address of an open sign-up.
create function app.signup_email(p_signup_id uuid) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    address text;
begin
    select s.email into address from app.signups s where s.id = p_signup_id and s.expires_at > now();
    if not found then
        perform app.refuse(404, 'link_invalid', 'Sign up again to get a new link.');
    end if;
    return address;
end
$$;
call app.grant_definer('app.signup_email(uuid)', array['app_credentials']);

-- Create the account of a sign-up with the values that the reader of the mail chose. If the claims name an anonymous
-- fan, that fan becomes the account: all sessions of the fan end, and p_session_id begins. Return the person of that
-- session.
create function app.verify_signup(
    p_signup_id uuid, p_user_id uuid, p_password_hash text, p_name text, p_locale text, p_consent_tiers text[],
    p_notice_id uuid, p_session_id uuid, p_idle interval, p_lifetime interval, p_refresh_hash bytea, p_request jsonb
) returns app.session_person
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    signup app.signups;
    fan uuid := (app.claims() ->> 'sub')::uuid;
    was jsonb;
    removed jsonb;
    tier text;
begin
    delete from app.signups s where s.id = p_signup_id and s.expires_at > now() returning * into signup;
    if not found then
        perform app.refuse(404, 'link_invalid', 'Sign up again to get a new link.');
    end if;
    if fan is null then
        insert into public.users (id, email, password_hash, role_id, name, locale, email_verified_at)
        select p_user_id, signup.email, p_password_hash, r.id, p_name, p_locale, now()
        from public.roles r where r.name = 'Fan';
    else
        was := app.membership_of(fan);
        update public.users u set email = signup.email, password_hash = p_password_hash,
            name = coalesce(p_name, u.name), is_anonymous = false, email_verified_at = now(), updated_at = now()
        where u.id = fan and u.is_anonymous returning u.id into p_user_id;
        if not found then
            perform app.refuse(409, 'already_registered', 'This session belongs to an account already.');
        end if;
        perform app.end_sessions(fan);
        removed := app.remove_access(fan, p_request);
        perform app.start_session(p_session_id, fan, p_idle, p_lifetime, p_refresh_hash, p_request);
    end if;
    foreach tier in array p_consent_tiers loop
        perform app.add_consent(gen_random_uuid(), p_user_id, tier, null, p_notice_id, 'signup',
            p_request ->> 'request_id');
    end loop;
    perform app.add_account_audit('account.verify', p_user_id, jsonb_build_object('signup', p_signup_id, 'before', was,
        'after', app.membership_of(p_user_id)
            || jsonb_build_object('consent_tiers', p_consent_tiers, 'notice', p_notice_id),
        'removed', removed), p_request);
    return case when fan is not null then app.person_of_session(p_session_id) end;
exception
    when unique_violation then
        perform app.refuse(404, 'link_invalid', 'An account with this address was created meanwhile.');
end
$$;
call app.grant_definer(
    'app.verify_signup(uuid,uuid,text,text,text,text[],uuid,uuid,interval,interval,bytea,jsonb)',
    array['app_credentials']);

-- Count an attempt to sign in. Return the account, its password hash, and the seconds until the next attempt is
-- allowed. Both counters are changed whether or not the account exists, so that both cases take equally long.
--
-- The counter of the account and the network always limits. The counter of the account does not limit networks from
-- which the person signed in during the last 30 days: strangers could lock the person out otherwise. p_network is an
-- IPv4 address, or an IPv6 network such as `2001:db8:1:2::/64`: devices change their IPv6 address daily.
create function app.begin_sign_in(
    p_email text, p_network_key bytea, p_account_key bytea, p_most_of_network int, p_most_of_account int,
    p_window interval, p_network text, out user_id uuid, out password_hash text, out retry_after int
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    owner public.users;
    network_wait int;
    account_wait int;
begin
    -- Return no hash of an account that can't sign in: the password is then compared with a dummy hash.
    select u.* into owner from public.users u where u.email = p_email;
    if owner.email_verified_at is not null and exists (select from app.active_users a where a.id = owner.id) then
        begin_sign_in.user_id := owner.id;
        begin_sign_in.password_hash := owner.password_hash;
    end if;
    -- Count the attempt.
    network_wait := app.count_attempt(p_network_key, p_most_of_network, p_window, owner.id);
    account_wait := app.count_attempt(p_account_key, p_most_of_account, p_window, owner.id);
    -- Lift the limit of the account for networks of the person's own sessions.
    if account_wait > 0 and exists (
        select from app.sessions s where s.user_id = begin_sign_in.user_id
            and s.created_at > now() - interval '30 days'
            and case
                when p_network like '%:%/64' and s.address ~ '^[0-9a-f]*:[0-9a-f:.]*$'
                    then s.address::inet <<= p_network::inet
                else s.address = p_network
            end)
    then
        account_wait := 0;
    end if;
    retry_after := greatest(network_wait, account_wait);
end
$$;

-- Count one attempt. Return the seconds until the next attempt is allowed; 0 if it is allowed now. An attempt never
-- prolongs the window. p_user_id is the account that the counter can lock; see app.reset_attempts.
create function app.count_attempt(p_key bytea, p_most int, p_window interval, p_user_id uuid default null) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    counted app.sign_in_attempts;
begin
    insert into app.sign_in_attempts as a (key, attempts, resets_at, user_id)
    values (p_key, 1, now() + p_window, p_user_id)
    on conflict (key) do update set
        user_id = coalesce(excluded.user_id, a.user_id),
        attempts = case when a.resets_at <= now() then 1 else a.attempts + 1 end,
        resets_at = case when a.resets_at <= now() then excluded.resets_at else a.resets_at end
    returning * into counted;
    return case when counted.attempts > p_most then ceil(extract(epoch from counted.resets_at - now()))::int else 0 end;
end
$$;
call app.grant_definer('app.count_attempt(bytea,int,interval,uuid)', '{}');

-- Delete the counters that can lock a user out: sign-ins from every network, codes and passwords.
create function app.reset_attempts(p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from app.sign_in_attempts a where a.user_id = p_user_id;
end
$$;
call app.grant_definer('app.reset_attempts(uuid)', '{}');

call app.grant_definer('app.begin_sign_in(text,bytea,bytea,int,int,interval,text)', array['app_credentials']);

-- Add the audit entry of a refused sign-in. p_account is the keyed hash of the address that was sent.
create function app.record_failed_sign_in(p_user_id uuid, p_account bytea, p_request jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_account_audit('session.start', p_user_id, jsonb_build_object('account', encode(p_account, 'hex')),
        p_request, 'refused', 'invalid_credentials');
end
$$;
call app.grant_definer('app.record_failed_sign_in(uuid,bytea,jsonb)', array['app_credentials']);

-- Begin a session after the password was verified against p_password_hash, and undo the count of the attempt. Return no
-- row if the hash has changed since or the account is no longer active. p_new_hash: the password, hashed with the
-- present parameters; null if unchanged.
create function app.sign_in(
    p_session_id uuid, p_user_id uuid, p_password_hash text, p_new_hash text, p_idle interval, p_lifetime interval,
    p_refresh_hash bytea, p_network_key bytea, p_account_key bytea, p_request jsonb
) returns setof app.session_person language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- The lock comes first: the statement after it sees whether the account has been suspended meanwhile.
    perform app.get_user_for_update(p_user_id);
    update public.users u set password_hash = coalesce(p_new_hash, u.password_hash)
    where u.id = p_user_id and u.password_hash = p_password_hash
        and exists (select from app.active_users a where a.id = u.id);
    if not found then
        return;
    end if;
    perform app.start_session(p_session_id, p_user_id, p_idle, p_lifetime, p_refresh_hash, p_request);
    delete from app.sign_in_attempts a where a.key = p_network_key;
    update app.sign_in_attempts a set attempts = a.attempts - 1 where a.key = p_account_key and a.attempts > 0;
    perform app.add_account_audit('session.start', p_user_id, jsonb_build_object('session', p_session_id), p_request);
    return next app.person_of_session(p_session_id);
end
$$;
call app.grant_definer('app.sign_in(uuid,uuid,text,text,interval,interval,bytea,bytea,bytea,jsonb)',
    array['app_credentials']);

-- Create an anonymous fan and a session. No audit entry: the session's row records the act.
create function app.sign_in_anonymously(
    p_session_id uuid, p_user_id uuid, p_locale text, p_idle interval, p_lifetime interval, p_refresh_hash bytea,
    p_request jsonb
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.users (id, role_id, locale, is_anonymous)
    select p_user_id, r.id, p_locale, true from public.roles r where r.name = 'Fan';
    perform app.start_session(p_session_id, p_user_id, p_idle, p_lifetime, p_refresh_hash, p_request);
    -- No password or code was verified. The session must not count as recently authenticated after a sign-up.
    update app.sessions s set authenticated_at = null where s.id = p_session_id;
end
$$;
call app.grant_definer('app.sign_in_anonymously(uuid,uuid,text,interval,interval,bytea,jsonb)',
    array['app_credentials']);
