-- The rules of session validity and of MFA owed. Each request, each scan, sign-in and refresh reads these two views.
-- security_invoker: the definer functions that read them have row security of their own; no login can read the views.

-- Accounts that may have sessions: not suspended, and not of an archived brand.
-- mfa_required_from: time from which the account must have an authenticator; null: it need not.
create view app.active_users with (security_invoker = true) as
select u.id, u.email, u.name, u.locale, r.name as role, u.brand_id, u.is_anonymous,
    case when r.name = 'System Admin' then u.created_at else b.mfa_required_from end as mfa_required_from
from public.users u
join public.roles r on r.id = u.role_id
left join public.brands b on b.id = u.brand_id
where u.suspended_at is null and b.archived_at is null;
grant select on app.active_users to app_definer;

-- Sessions that are neither revoked nor expired and belong to an active account.
-- mfa_required: the step that the session must do before anything else, `verify` a code or `enrol` an authenticator;
-- null: none.
create view app.live_sessions with (security_invoker = true) as
select s.id, s.user_id, s.created_at, s.refreshed_at, s.authenticated_at, s.expires_at, s.ends_at, s.address,
    s.user_agent, s.aal, u.email, u.name, u.locale, u.role, u.brand_id, u.is_anonymous, u.mfa_required_from,
    case
        when s.aal = 'aal2' then null
        when exists (select from app.totp_factors f where f.user_id = s.user_id and f.confirmed_at is not null)
            then 'verify'
        when u.mfa_required_from <= now() then 'enrol'
    end as mfa_required
from app.sessions s
join app.active_users u on u.id = s.user_id
where s.revoked_at is null and s.expires_at > now();
grant select on app.live_sessions to app_definer;

-- Return the person of a live session, as the access token describes the person.
create function app.person_of_session(p_session_id uuid) returns app.session_person
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    person app.session_person;
begin
    select l.user_id, l.email, l.name, l.locale, l.role, l.brand_id, l.is_anonymous, l.aal, l.mfa_required into person
    from app.live_sessions l where l.id = p_session_id;
    if not found then
        perform app.refuse(401, 'session_ended', 'Sign in again.');
    end if;
    return person;
end
$$;
call app.grant_definer('app.person_of_session(uuid)', '{}');

-- Refuse the caller's access token unless its session is live, its role and brand are the person's present ones, and it
-- states that MFA is owed if it is. The next token of the session states that.
create function app.require_session() returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- Not app.claims(): its call would double the cost, and the first message of each request calls this function.
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '');
    owed text;
begin
    select l.mfa_required into owed
    from app.live_sessions l
    where l.id = (claims ->> 'session_id')::uuid
        and l.user_id = (claims ->> 'sub')::uuid
        and l.role = claims #>> '{app_metadata,user_role}'
        and l.brand_id is not distinct from (claims #>> '{app_metadata,brand_id}')::uuid;
    if not found then
        perform app.refuse(401, 'session_ended', 'Sign in again.');
    elsif owed is not null and current_setting('role') = 'app_admin' then
        perform app.refuse(403, 'mfa_required', 'Verify a code of the authenticator first.');
    elsif owed is not null and not claims ? 'mfa_pending' then
        perform app.refuse(401, 'session_ended', 'Refresh the session, then verify or enrol an authenticator.');
    end if;
end
$$;
call app.grant_definer('app.require_session()', array['authenticated', 'app_fan', 'app_admin', 'app_credentials']);
