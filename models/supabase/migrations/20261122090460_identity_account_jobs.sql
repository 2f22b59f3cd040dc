-- Functions of jobs about accounts: read the recipient of a mail, and delete expired rows. app_system has no other
-- access to credentials.

-- Return the address and language of a sign-up's mail; no row once it is verified or expired.
create function app.signup_mail(p_id uuid) returns table (email text, locale text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select s.email, coalesce(u.locale, s.locale)
    from app.signups s left join public.users u on u.email = s.email where s.id = p_id and s.expires_at > now();
end
$$;
call app.grant_definer('app.signup_mail(uuid)', array['app_system']);

-- Return the address and language of the mail with a link for a new password; no row once the link is used or expired.
create function app.reset_mail(p_id uuid) returns table (email text, locale text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select u.email, u.locale from app.password_resets r join public.users u on u.id = r.user_id
    where r.id = p_id and r.used_at is null and r.expires_at > now();
end
$$;
call app.grant_definer('app.reset_mail(uuid)', array['app_system']);

-- Return both addresses of a change of address, each with the language of its mails; no row once it is undone or
-- expired. If the new address has an account, mails to it are in that account's language.
create function app.change_mail(p_id uuid)
returns table (old_email text, old_locale text, new_email text, new_locale text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select c.old_email, u.locale, c.new_email, coalesce(o.locale, u.locale)
    from app.email_changes c join public.users u on u.id = c.user_id left join public.users o on o.email = c.new_email
    where c.id = p_id and c.undone_at is null and coalesce(c.undo_until, c.expires_at) > now();
end
$$;
call app.grant_definer('app.change_mail(uuid)', array['app_system']);

-- Return the address and language of mail about an account; no row for an account without an address.
create function app.account_mail(p_user_id uuid) returns table (email text, locale text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select u.email, u.locale from public.users u where u.id = p_user_id and u.email is not null;
end
$$;
call app.grant_definer('app.account_mail(uuid)', array['app_system']);

-- Delete anonymous people without scans, consents or contacts who have no session begun or refreshed after
-- p_idle_since. Return their number. One run deletes 20,000 at most; later runs delete the rest.
create function app.delete_anonymous_people(p_idle_since timestamptz) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    people uuid[];
    ended uuid[];
    deleted bigint;
begin
    -- Lock the people to delete. Skip locked ones: they are in use.
    people := array(
        select p.id from public.users p
        where p.is_anonymous and p.created_at < p_idle_since
            and not exists (select from app.sessions s where s.user_id = p.id
                and greatest(s.created_at, s.refreshed_at) >= p_idle_since and s.revoked_at is null)
            and not exists (select from public.consents x where x.user_id = p.id)
            and not exists (select from public.consent_events x where x.user_id = p.id)
            and not exists (select from public.qr_scans x where x.user_id = p.id)
            and not exists (select from public.contacts x where x.user_id = p.id)
            and not exists (select from public.engagement_events x where x.user_id = p.id)
        order by p.created_at limit 20000 for update skip locked);
    -- Find the people whose Supabase session was revoked here.
    ended := array(
        select s.user_id from app.sessions s
        where s.user_id = any (people) and s.revoked_at is not null and s.ends_at = 'infinity');
    delete from public.users u where u.id = any (people);
    get diagnostics deleted = row_count;
    -- The person did not ask for the deletion and may return with Supabase's token. Only an ended session stays ended.
    delete from app.deleted_users d where d.user_id = any (people) and d.user_id <> all (ended);
    return deleted;
end
$$;
call app.grant_definer('app.delete_anonymous_people(timestamptz)', '{}');

-- Delete the rows of one kind that expired longer than p_keep ago. Return their number.
create function app.delete_expired(p_kind text, p_keep interval) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    until timestamptz := now() - greatest(p_keep, '0');
    deleted bigint;
begin
    case p_kind
        when 'anonymous_people' then
            return app.delete_anonymous_people(until);
        when 'signups' then
            delete from app.signups s where s.expires_at < until;
        when 'sessions' then
            -- Supabase's sessions have no last day: their refresh tokens don't expire, and each attempt in an ended one
            -- moves expires_at. Once an ended one is deleted, the mark in the person's row refuses its tokens.
            with gone as (
                delete from app.sessions s
                where until > case
                    when s.ends_at = 'infinity' then s.expires_at
                    else least(s.expires_at, s.revoked_at)
                end
                returning s.user_id, s.revoked_at, s.ends_at, coalesce(s.authenticated_at, s.created_at) as began
            ), marked as (
                update public.users u set sessions_since = greatest(u.sessions_since, e.began + interval '1 second')
                from (
                    select g.user_id, max(g.began) as began from gone g
                    where g.ends_at = 'infinity' and g.revoked_at is not null group by g.user_id) e
                where u.id = e.user_id
            )
            select count(*) into deleted from gone;
            return deleted;
        when 'refresh_tokens' then
            -- The used token whose successor is unused stays: it is repeated if the answer to it was lost.
            delete from app.refresh_tokens t where t.used_at < until and not exists (
                select from app.refresh_tokens n where n.hash = t.successor_hash and n.used_at is null);
        when 'invitations' then
            delete from app.invitations i where i.expires_at < until;
        when 'password_resets' then
            delete from app.password_resets r where r.expires_at < until;
        when 'email_changes' then
            delete from app.email_changes c where coalesce(c.undo_until, c.expires_at) < until;
        when 'authenticators' then
            -- Only unconfirmed factors, which have no expiry of their own.
            delete from app.totp_factors f where f.confirmed_at is null and f.created_at < until;
        when 'sign_in_attempts' then
            delete from app.sign_in_attempts a where a.resets_at < until;
    end case;
    get diagnostics deleted = row_count;
    return deleted;
end
$$;
call app.grant_definer('app.delete_expired(text,interval)', array['app_system']);
