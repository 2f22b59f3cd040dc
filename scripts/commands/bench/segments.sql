-- Contacts of fifty brands and their engagement events of a year, almost all of one brand.
-- {contacts} and {events} are numbers of rows of that brand ({brand}); every other brand has 200 contacts.
set synchronous_commit = off;
set work_mem = '512MB';
set maintenance_work_mem = '1GB';
set session_replication_role = replica;     -- no triggers: activity, users and consents are filled below
set timezone = 'UTC';
select setseed(0.42);

insert into public.brands (id, name) select md5('brand' || n)::uuid, 'Small brand ' || n from generate_series(1, 49) n;
insert into public.contact_properties (brand_id, key, type, label)
values ('{brand}', 'spend', 'number', 'Spend'), ('{brand}', 'vip', 'boolean', 'VIP');
do $$
begin
    for n in 0 .. 12 loop
        if to_regclass(format('app_partitions.engagement_events_%s',
            to_char(date_trunc('month', now()) - make_interval(months => n), 'YYYYMM'))) is null
        then
            perform app.create_engagement_month((date_trunc('month', now()) - make_interval(months => n))::date);
        end if;
    end loop;
end
$$;

-- Build each index after the rows: it takes a fraction of the time.
create temporary table indexes as
select i.indexrelid::regclass::text as name, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as definition
from pg_index i
where not i.indisunique and i.indrelid = any (array['public.users', 'public.contacts', 'public.contact_activity',
    'public.engagement_events', 'public.consents', 'public.fan_traits']::regclass[]);
do $$
declare
    index text;
begin
    for index in select i.name from indexes i loop
        execute 'drop index ' || index;
    end loop;
end
$$;

-- People: six of ten contacts have an account.
create temporary table people as
select n, md5('contact' || n)::uuid as contact_id, case when n % 10 < 6 then md5('user' || n)::uuid end as user_id,
    random() as country, random() as place, random() as consent, random() as spend
from generate_series(1, {contacts}) n;
insert into public.users (id, role_id, is_anonymous, locale)
select p.user_id, (select r.id from public.roles r where r.name = 'Fan'), true, 'es-ES' from people p
where p.user_id is not null;
insert into public.contacts (brand_id, id, user_id, external_id, email, name, locale, country, city, birth_date, lat,
    lon, tags, source, properties, opted_out_at, created_at, last_seen_at)
select '{brand}', p.contact_id, p.user_id, 'C-' || p.n, 'person.' || p.n || '@people' || p.n % 97 || '.example',
    (array['Ana', 'Begoña', 'Carla', 'Diego', 'Elena', 'Íñigo', 'Julia', 'Marta'])[1 + p.n % 8] || ' ' || p.n, 'es-ES',
    (array['ES', 'ES', 'ES', 'ES', 'PT', 'PT', 'FR', 'IT', 'DE', 'GB'])[1 + floor(p.country * 10)],
    (array['Madrid', 'Málaga', 'León', 'Sevilla', 'Bilbao'])[1 + p.n % 5],
    date '1950-01-01' + (p.n::bigint * 7919 % 20000)::int,
    case when p.n % 2 = 0 then 36 + 7 * p.place end, case when p.n % 2 = 0 then -9 + 12 * random() end,
    case when p.n % 3 = 0 then array['tag' || p.n % 20, 'tag' || p.n % 7] else '{{}}' end, 'import',
    jsonb_build_object('spend', floor(p.spend * 1000), 'vip', p.spend > 0.95),
    case when p.n % 50 = 0 then now() - interval '10 days' end,
    now() - random() * interval '400 days', now() - random() * interval '300 days'
from people p;
insert into public.contacts (brand_id, id, email, name, country)
select md5('brand' || b)::uuid, md5(b || 'small' || n)::uuid, 'person.' || n || '@small.example', 'Ana ' || n, 'ES'
from generate_series(1, 49) b, generate_series(1, 200) n;

-- Six of ten people with an account consent to marketing, two have withdrawn, and the consent of one has expired.
insert into public.consents (user_id, consent_tier, notice_id, locale, granted_at, revoked_at, expires_at)
select p.user_id, 'marketing', '0197a000-0000-7000-8000-000000000001', 'en', now() - interval '200 days',
    case when p.consent between 0.6 and 0.8 then now() - interval '20 days' end,
    case when p.consent between 0.8 and 0.9 then now() - interval '5 days' else now() + interval '200 days' end
from people p where p.user_id is not null and p.consent < 0.9;
insert into public.fan_traits (brand_id, user_id, name, value, observed_at, usable_until)
select '{brand}', p.user_id, 'genre', (array['flamenco', 'rock', 'pop', 'jazz', 'folk'])[1 + p.n % 5],
    now() - interval '3 days', now() + interval '200 days'
from people p where p.user_id is not null and p.consent < 0.6;

-- Events: a few contacts have many, most have some.
create temporary table events as
select 1 + floor({contacts} * power(random(), 1.5))::int as n, random() as kind,
    1 + floor(random() * 40)::int as campaign, now() - random() * random() * interval '360 days' as at
from generate_series(1, {events});
create temporary table known_events as
select p.contact_id, p.user_id, md5('campaign' || e.campaign)::uuid as campaign_id, e.at,
    case when e.kind < 0.70 then 'scan' when e.kind < 0.80 then 'survey' when e.kind < 0.88 then 'reward_granted'
        when e.kind < 0.93 then 'reward_claimed' when e.kind < 0.96 then 'reward_redeemed'
        when e.kind < 0.98 then 'check_in' else 'conversion' end as kind
from events e join people p on p.n = e.n;
insert into public.engagement_events
    (id, brand_id, campaign_id, user_id, contact_id, kind, source_id, occurred_at, revision, received_at)
select gen_random_uuid(), '{brand}', k.campaign_id, k.user_id, case when k.user_id is null then k.contact_id end,
    k.kind, gen_random_uuid(), k.at, 1, k.at
from known_events k;
insert into public.contact_activity (brand_id, contact_id, event, campaign_id, day, n)
select '{brand}', k.contact_id, k.kind, k.campaign_id, k.at::date, count(*)
from known_events k group by k.contact_id, k.kind, k.campaign_id, k.at::date;

do $$
declare
    definition text;
begin
    for definition in select i.definition from indexes i loop
        execute definition;
    end loop;
end
$$;
drop table people, events, known_events;
