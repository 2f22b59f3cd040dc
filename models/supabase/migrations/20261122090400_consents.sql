-- What people agreed to. consent_events is the truth, consents the state that follows from it.

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

create function app.keep_notice() returns trigger language plpgsql set search_path = '' as $$
begin
    if tg_op = 'UPDATE' and to_jsonb(new) - 'retired_at' = to_jsonb(old) - 'retired_at' then
        return new;
    end if;
    raise exception using errcode = 'PT409', message = 'notice_is_published',
        detail = 'A published notice never changes; publish a new version.';
end
$$;
create trigger consent_notices_immutable before update or delete on public.consent_notices
    for each row execute function app.keep_notice();

insert into public.consent_notices (id, key, version, locale, title, body, tiers) values
    ('0197a000-0000-7000-8000-000000000001', 'default', 1, 'en', 'Your data in this activation',
     'Compañon and the brand whose activation you take part in process your scan: time, place (if you share it) and a '
     'pseudonymous mark of your device, to decide whether it counts and to prevent fraud (tier "essential"). With your '
     'consent they also measure how the activation does (tier "analytics"), contact you about the brand (tier '
     '"marketing"), or have texts that you write analysed by an AI service (tier "ai_processing"). You may withdraw any '
     'of these at any time in the same place, with effect at once.',
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
    brand_id uuid references public.brands (id),  -- null: given to Compañon for every brand's activations
    notice_id uuid not null references public.consent_notices (id),
    locale text not null,
    source text not null default 'api',
    expires_at timestamptz not null
);
create unique index consents_in_force on public.consents
    (user_id, consent_tier, coalesce(brand_id, '00000000-0000-0000-0000-000000000000')) where revoked_at is null;
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
    at timestamptz not null default now()
);
create index consent_events_user on public.consent_events (user_id, at);

create function app.keep_consent_event() returns trigger language plpgsql set search_path = '' as $$
begin
    raise exception using errcode = 'PT409', message = 'consent_events_are_append_only';
end
$$;
create trigger consent_events_append_only before update or delete on public.consent_events
    for each row execute function app.keep_consent_event();

call app.secure('public.consent_notices', p_admin => 'select', p_system => 'select');
create policy authenticated_select on public.consent_notices for select to authenticated using (true);
create policy app_fan_select on public.consent_notices for select to app_fan using (true);
create policy app_public_select on public.consent_notices for select to app_public using (true);
grant select on public.consent_notices to authenticated, app_fan, app_public;

-- A consent is the fan's own affair: a brand never reads it here, the functions that need it ask whether it is in force.
call app.secure('public.consents', p_fan => 'select,insert,update', p_system => 'select,update');
call app.secure('public.consent_events', p_fan => 'select,insert', p_system => 'select,insert');

-- Members of a brand are people too and manage their own consents as fans do.
create policy authenticated_select on public.consents for select to authenticated using (user_id = (select auth.uid()));
create policy authenticated_insert on public.consents for insert to authenticated with check (user_id = (select auth.uid()));
create policy authenticated_update on public.consents for update to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy authenticated_insert on public.consent_events for insert to authenticated
    with check (user_id = (select auth.uid()));
create policy authenticated_select on public.consent_events for select to authenticated
    using (user_id = (select auth.uid()));
grant select, insert, update on public.consents to authenticated;
grant select, insert on public.consent_events to authenticated;

-- Which of these tiers are not in force for a person towards a brand.
create function app.missing_consents(p_user_id uuid, p_brand_id uuid, p_tiers text[]) returns text[]
language plpgsql stable security definer set search_path = '' as $$
begin
    return (
        select coalesce(array_agg(tier order by tier), '{}') from unnest(p_tiers) as tier
        where not exists (
            select from public.consents c
            where c.user_id = p_user_id and c.consent_tier = tier and c.revoked_at is null and c.expires_at > now()
                and (c.brand_id is null or c.brand_id = p_brand_id)));
end
$$;
call app.grant_definer('app.missing_consents(uuid,uuid,text[])', '{}');
