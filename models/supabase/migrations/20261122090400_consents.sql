-- Consents: notices, consents and their events. consent_events is the record; consents is the current state.

-- Texts that consents are given under. A published version never changes; several versions and languages share a key.
create table public.consent_notices (
    id uuid primary key default gen_random_uuid(),
    key text not null,
    version int not null,
    locale text not null,
    title text not null,
    body text not null,
    body_sha256 text not null generated always as (encode(extensions.digest(body, 'sha256'), 'hex')) stored,
    tiers text[] not null,
    valid_for interval not null default '13 months',
    published_at timestamptz not null default now(),
    retired_at timestamptz,
    unique (key, version, locale)
);

-- Refuse every change of a published notice but its retirement.
create function app.refuse_notice_change() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    -- body_sha256 is generated after this trigger: in `new` it is still null.
    if tg_op = 'UPDATE' and to_jsonb(new) - '{retired_at,body_sha256}'::text[]
            = to_jsonb(old) - '{retired_at,body_sha256}'::text[] then
        return new;
    end if;
    raise exception using errcode = 'PT409', message = 'notice_is_published',
        detail = 'A published notice can''t be changed; publish a new version.';
end
$$;
create trigger consent_notices_immutable before update or delete on public.consent_notices
    for each row execute function app.refuse_notice_change();

insert into public.consent_notices (id, key, version, locale, title, body, tiers) values
    ('0197a000-0000-7000-8000-000000000001', 'default', 1, 'en', 'Your data in this activation',
     'Compañon and the brand whose activation you take part in process your scan: time, place (if you share it) and a '
     'pseudonymous mark of your device, to decide whether it counts and to prevent fraud (tier "essential"). With your '
     'consent they also measure how the activation does (tier "analytics"), contact you about the brand (tier '
     '"marketing"), or have texts that you write analysed by an AI service (tier "ai_processing"). You may withdraw '
     'any of these at any time in the same place, with effect at once.',
     array['essential', 'analytics', 'marketing', 'ai_processing']),
    ('0197a000-0000-7000-8000-000000000002', 'default', 1, 'es', 'Tus datos en esta activación',
     'Compañon y la marca en cuya activación participas tratan tu escaneo: hora, lugar (si lo compartes) y una marca '
     'seudónima de tu dispositivo, para decidir si cuenta y prevenir el fraude (nivel «essential»). Con tu '
     'consentimiento también miden cómo va la activación (nivel «analytics»), te contactan sobre la marca (nivel '
     '«marketing») o hacen analizar por un servicio de IA los textos que escribas (nivel «ai_processing»). Puedes '
     'retirar cualquiera de ellos cuando quieras en el mismo lugar, con efecto inmediato.',
     array['essential', 'analytics', 'marketing', 'ai_processing']);

create table public.consents (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users (id),
    consent_tier text not null check (consent_tier in ('essential', 'analytics', 'marketing', 'ai_processing')),
    granted_at timestamptz not null default now(),
    revoked_at timestamptz,
    brand_id uuid references public.brands (id),  -- null: for every brand
    notice_id uuid not null references public.consent_notices (id),
    locale text not null,
    source text not null default 'api',
    expires_at timestamptz not null
);
create unique index consents_in_force on public.consents
    (user_id, consent_tier, coalesce(brand_id, '00000000-0000-0000-0000-000000000000')) where revoked_at is null;
-- For the list of a person's consents, including the withdrawn ones.
create index consents_user on public.consents (user_id, granted_at desc, id desc);
create index consents_expiry on public.consents (expires_at) where revoked_at is null;

create table public.consent_events (
    id uuid primary key,
    consent_id uuid not null references public.consents (id),
    user_id uuid not null references public.users (id),
    brand_id uuid references public.brands (id),
    action text not null check (action in ('grant', 'withdraw', 'expire')),
    consent_tier text not null,
    notice_id uuid not null references public.consent_notices (id),
    notice_sha256 text not null,
    locale text not null,
    source text not null,
    request_id text,
    expires_at timestamptz not null,
    at timestamptz not null default now()
);
create index consent_events_user on public.consent_events (user_id, at);

-- Refuse every change of a consent event.
create function app.refuse_consent_event_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception using errcode = 'PT409', message = 'consent_events_are_append_only';
end
$$;
create trigger consent_events_append_only before update or delete on public.consent_events
    for each row execute function app.refuse_consent_event_change();

call app.secure('public.consent_notices', p_admin => 'select', p_system => 'select');
create policy authenticated_select on public.consent_notices for select to authenticated using (true);
create policy app_fan_select on public.consent_notices for select to app_fan using (true);
create policy app_public_select on public.consent_notices for select to app_public using (true);
create policy app_job_select on public.consent_notices for select to app_job using (true);
grant select on public.consent_notices to authenticated, app_fan, app_public, app_job;

-- Each person reads their own consents only, also members of a brand and system admins. Brands read none: functions
-- check whether a consent is in force. Only the functions below change consents, so each change has its event.
call app.secure('public.consents', p_fan => 'select', p_system => 'select');
call app.secure('public.consent_events', p_fan => 'select', p_system => 'select');
create policy authenticated_select on public.consents for select to authenticated using (user_id = (select auth.uid()));
create policy app_admin_select on public.consents for select to app_admin using (user_id = (select auth.uid()));
create policy authenticated_select on public.consent_events for select to authenticated
    using (user_id = (select auth.uid()));
create policy app_admin_select on public.consent_events for select to app_admin using (user_id = (select auth.uid()));
grant select on public.consents, public.consent_events to authenticated, app_admin;

-- Report whether a consent is in force: neither withdrawn nor expired. The only definition of this rule. A standard
-- body, so that PostgreSQL inlines it: the index consents_in_force is used where revoked_at is tested.
create function app.consent_is_in_force(p_revoked_at timestamptz, p_expires_at timestamptz) returns boolean
language sql stable return p_revoked_at is null and p_expires_at > now();
grant execute on function app.consent_is_in_force(timestamptz, timestamptz)
    to authenticated, app_fan, app_admin, app_definer;

-- Return those of the tiers that a person has no consent in force for, towards a brand.
create function app.missing_consents(p_user_id uuid, p_brand_id uuid, p_tiers text[]) returns text[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select coalesce(array_agg(tier order by tier), '{}') from unnest(p_tiers) as tier
        where not exists (
            select from public.consents c
            where c.user_id = p_user_id and c.consent_tier = tier
                and app.consent_is_in_force(c.revoked_at, c.expires_at)
                and (c.brand_id is null or c.brand_id = p_brand_id)));
end
$$;
call app.grant_definer('app.missing_consents(uuid,uuid,text[])', '{}');

-- Uses of personal data that relied on a consent, counted for each consent, brand, purpose and day (UTC).
create table public.consent_uses (
    brand_id uuid not null references public.brands (id),
    consent_id uuid not null references public.consents (id),
    purpose text not null check (purpose in ('contact', 'profiling', 'measurement', 'ai_analysis')),
    day date not null default (now() at time zone 'UTC')::date,
    user_id uuid not null references public.users (id),
    uses int not null default 1,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    primary key (brand_id, consent_id, purpose, day)
);
create index consent_uses_user on public.consent_uses (user_id, day);
create index consent_uses_consent on public.consent_uses (consent_id);
create index consent_uses_day on public.consent_uses (day);
call app.secure('public.consent_uses', p_fan => 'select', p_own => 'select', p_system => 'select,delete');

-- Return the people whose consent of p_tier towards a brand is in force, and record that p_purpose relies on it now. A
-- withdrawal waits until the caller's transaction ends. Of several consents the one for the brand counts, then the one
-- that expires last. A job of a brand may act for its brand only.
create function app.use_consents(p_user_ids uuid[], p_brand_id uuid, p_purpose text, p_tier text) returns setof uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if current_setting('role') = 'app_job' and p_brand_id is distinct from app.job_brand() then
        perform app.refuse(403, 'forbidden');
    end if;
    return query
    with locked as materialized (
        select c.id, c.user_id, c.brand_id, c.expires_at from public.consents c
        where c.user_id = any (p_user_ids) and c.consent_tier = p_tier
            and app.consent_is_in_force(c.revoked_at, c.expires_at)
            and (c.brand_id is null or c.brand_id = p_brand_id)
        order by c.id for share
    ), relied_on as (
        select distinct on (l.user_id) l.id, l.user_id from locked l
        order by l.user_id, l.brand_id nulls last, l.expires_at desc, l.id
    ), recorded as (
        insert into public.consent_uses as u (brand_id, consent_id, purpose, user_id)
        select p_brand_id, r.id, p_purpose, r.user_id from relied_on r order by r.id
        on conflict (brand_id, consent_id, purpose, day) do update set uses = u.uses + 1, last_at = now()
    )
    select r.user_id from relied_on r;
end
$$;
call app.grant_definer('app.use_consents(uuid[],uuid,text,text)', array['app_job', 'app_system']);

-- Return the id of a key's notice in force: published, not retired, in the first of these languages that it has.
-- A language matches its own tag before its primary subtag (es-MX, then es). Without a match: English, then any.
create function app.notice_in_force(p_key text, p_locales text[]) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select n.id from public.consent_notices n
        cross join lateral (
            select min(w.place) as place from unnest(p_locales || 'en'::text) with ordinality w (locale, place)
            where lower(n.locale) in (lower(w.locale), lower(split_part(w.locale, '-', 1)))
        ) wanted
        where n.key = p_key and n.published_at <= now() and n.retired_at is null
        order by wanted.place, length(n.locale) desc, n.locale, n.version desc
        limit 1);
end
$$;
call app.grant_definer('app.notice_in_force(text,text[])',
    array['app_public', 'authenticated', 'app_fan', 'app_admin', 'app_job']);

-- Add an event of a consent, with the hash of its notice.
create function app.add_consent_event(p_consent public.consents, p_action text, p_source text, p_request_id text)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into public.consent_events (id, consent_id, user_id, brand_id, action, consent_tier, notice_id,
        notice_sha256, locale, source, request_id, expires_at)
    select gen_random_uuid(), p_consent.id, p_consent.user_id, p_consent.brand_id, p_action, p_consent.consent_tier,
        n.id, n.body_sha256, p_consent.locale, p_source, p_request_id, p_consent.expires_at
    from public.consent_notices n where n.id = p_consent.notice_id;
end
$$;
call app.grant_definer('app.add_consent_event(public.consents,text,text,text)', '{}');

-- Set an expired consent's revoked_at to its expiry and record the expiry.
create function app.close_expired(p_consent public.consents) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update public.consents c set revoked_at = c.expires_at where c.id = p_consent.id;
    perform app.add_consent_event(p_consent, 'expire', 'expiry', null);
end
$$;
call app.grant_definer('app.close_expired(public.consents)', '{}');

-- Close up to p_limit expired consents, the earliest first. Return how many. A consent has no effect from its expiry
-- on, also before this function runs.
create function app.expire_consents(p_limit int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    consent public.consents;
    expired int := 0;
begin
    for consent in
        select * from public.consents c where c.revoked_at is null and c.expires_at <= now()
        order by c.expires_at limit p_limit for update skip locked
    loop
        perform app.close_expired(consent);
        expired := expired + 1;
    end loop;
    return expired;
end
$$;
call app.grant_definer('app.expire_consents(int)', array['app_system']);

-- Refuse a notice that is not in force (422 or 409), and a tier that the notice doesn't name. Return the notice.
create function app.require_notice(p_notice_id uuid, p_tier text) returns public.consent_notices
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    notice public.consent_notices;
    in_force uuid;
begin
    select * into notice from public.consent_notices n where n.id = p_notice_id;
    in_force := app.notice_in_force(notice.key, array[notice.locale]);
    if in_force is null then
        perform app.refuse(422, 'unknown_notice', 'The notice does not exist or is no longer in force.');
    elsif in_force <> notice.id then
        perform app.refuse(409, 'notice_not_in_force', 'Show the notice in force and ask for consent again.');
    end if;
    if not p_tier = any (notice.tiers) then
        perform app.refuse(422, 'tier_not_in_notice', 'The notice doesn''t name this tier.');
    end if;
    return notice;
end
$$;
call app.grant_definer('app.require_notice(uuid,text)', '{}');

-- Give a consent to p_brand_id, or to every brand if it is null. Return its id, and whether it was created; a consent
-- in force stays as it is.
create function app.add_consent(
    p_id uuid, p_user_id uuid, p_tier text, p_brand_id uuid, p_notice_id uuid, p_source text, p_request_id text,
    out id uuid, out created boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    notice public.consent_notices := app.require_notice(p_notice_id, p_tier);
    consent public.consents;
begin
    if p_brand_id is not null and not exists (select from public.brands b where b.id = p_brand_id) then
        perform app.refuse(422, 'unknown_brand', 'The brand does not exist.');
    end if;
    loop
        -- Return the consent in force; close one that has expired, since the unique index allows one open consent.
        select * into consent from public.consents c
        where c.user_id = p_user_id and c.consent_tier = p_tier and c.brand_id is not distinct from p_brand_id
            and c.revoked_at is null
        for update;
        if found and app.consent_is_in_force(consent.revoked_at, consent.expires_at) then
            add_consent.id := consent.id;
            created := false;
            return;
        elsif found then
            perform app.close_expired(consent);
        end if;
        insert into public.consents (id, user_id, consent_tier, brand_id, notice_id, locale, source, expires_at)
        values (p_id, p_user_id, p_tier, p_brand_id, notice.id, notice.locale, p_source, now() + notice.valid_for)
        on conflict (user_id, consent_tier, coalesce(brand_id, '00000000-0000-0000-0000-000000000000'))
            where revoked_at is null do nothing
        returning * into consent;
        if found then
            perform app.add_consent_event(consent, 'grant', p_source, p_request_id);
            add_consent.id := consent.id;
            created := true;
            return;
        end if;
        -- A concurrent transaction inserted the consent between the two statements: read it in the next round.
    end loop;
end
$$;
call app.grant_definer('app.add_consent(uuid,uuid,text,uuid,uuid,text,text)', '{}');

-- Give a consent for the caller. Without p_notice_id: under the default notice, in p_locale or the caller's language.
create function app.grant_consent(
    p_id uuid, p_tier text, p_brand_id uuid, p_notice_id uuid, p_locale text, p_source text, p_request_id text,
    out id uuid, out created boolean
) language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
begin
    if p_notice_id is null then
        p_notice_id := app.notice_in_force('default',
            array[coalesce(p_locale, (select u.locale from public.users u where u.id = caller))]);
    end if;
    select a.id, a.created into grant_consent.id, grant_consent.created
    from app.add_consent(p_id, caller, p_tier, p_brand_id, p_notice_id, p_source, p_request_id) as a;
end
$$;
call app.grant_definer('app.grant_consent(uuid,text,uuid,uuid,text,text,text)',
    array['authenticated', 'app_fan', 'app_admin']);

-- Withdraw a consent of the caller with immediate effect. Return false if it was withdrawn or closed already.
create function app.revoke_consent(p_id uuid, p_source text, p_request_id text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    caller uuid := (app.claims() ->> 'sub')::uuid;
    consent public.consents;
begin
    update public.consents c set revoked_at = now()
    where c.id = p_id and c.user_id = caller and c.revoked_at is null returning * into consent;
    if found then
        perform app.add_consent_event(consent, 'withdraw', p_source, p_request_id);
        return true;
    end if;
    if not exists (select from public.consents c where c.id = p_id and c.user_id = caller) then
        perform app.refuse(404, 'not_found', '');
    end if;
    return false;
end
$$;
call app.grant_definer('app.revoke_consent(uuid,text,text)', array['authenticated', 'app_fan', 'app_admin']);
