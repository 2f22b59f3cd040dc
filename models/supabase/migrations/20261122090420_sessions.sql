-- What a session is asked for while it lives: whether its person has just shown who they are.

-- Refuses a session whose person has shown neither password nor code for p_within. An anonymous fan has neither: the
-- session is all that such a person is known by.
create function app.require_recent(p_within interval) returns void
language plpgsql stable security definer set search_path = '' as $$
begin
    perform from app.sessions s join public.users u on u.id = s.user_id
    where s.id = (app.claims() ->> 'session_id')::uuid and s.user_id = (app.claims() ->> 'sub')::uuid
        and (s.authenticated_at > now() - p_within or u.is_anonymous);
    if not found then
        perform app.refuse(403, 'recent_authentication_required', 'POST /api/v1/auth/reauthenticate, and ask again.');
    end if;
end
$$;
call app.grant_definer('app.require_recent(interval)', array['authenticated', 'app_fan', 'app_admin']);

-- Counts an attempt of the caller to show who they are once more, and returns the hash of the own password.
-- Only who holds a session of the account gets here, so strangers can't use the attempts up.
create function app.begin_reauthentication(
    p_key bytea, p_most int, p_window interval, out password_hash text, out retry_after int
) language plpgsql security definer set search_path = '' as $$
begin
    retry_after := app.count_sign_in(p_key, p_most, p_window);
    select u.password_hash into begin_reauthentication.password_hash
    from public.users u where u.id = (app.claims() ->> 'sub')::uuid;
end
$$;
call app.grant_definer('app.begin_reauthentication(bytea,int,interval)', array['authenticated', 'app_fan', 'app_admin']);

-- Writes down that the caller has just shown who they are, unless the password has changed since it was compared, and
-- takes their attempts back; whether it did.
create function app.reauthenticate(p_key bytea, p_password_hash text) returns boolean
language plpgsql security definer set search_path = '' as $$
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
call app.grant_definer('app.reauthenticate(bytea,text)', array['authenticated', 'app_fan', 'app_admin']);
