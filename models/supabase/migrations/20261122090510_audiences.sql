-- Audiences: contacts and engagements.

-- Custom properties of contacts, as a brand has declared them. The type of a property never changes while contacts
-- have values of it.
create table public.contact_properties (
    brand_id uuid not null references public.brands (id),
    key text not null check (key ~ '^[a-z][a-z0-9_]{0,49}$'),
    type text not null check (type in ('text', 'number', 'boolean', 'date', 'datetime', 'list')),
    label text not null check (length(label) between 1 and 200),
    options text[],                         -- the only values of a text or list; null: any
    version int not null default 1,
    created_at timestamptz not null default now(),
    archived_at timestamptz,
    primary key (brand_id, key)
);

-- People whom a brand knows: those with an accepted scan, and contacts without an account (user_id null). A contact
-- that was merged into another one stays as a row with `merged_into`, and keeps its account: what refers to it is found
-- by coalesce(merged_into, id). `models/audiences/profile.py` lists the profile fields.
create table public.contacts (
    id uuid primary key default gen_random_uuid(),
    brand_id uuid not null references public.brands (id),
    user_id uuid references public.users (id),
    external_id text check (length(external_id) between 1 and 200),
    email text check (email = lower(email) and length(email) <= 254),
    phone text check (phone ~ '^[+][1-9][0-9]{6,14}$'),
    name text check (length(name) between 1 and 200),
    locale text check (length(locale) between 2 and 35),
    country text check (country ~ '^[A-Z]{2}$'),
    city text check (length(city) between 1 and 200),
    birth_date date check (birth_date >= date '1900-01-01'),
    lat double precision check (lat between -90 and 90),
    lon double precision check (lon between -180 and 180),
    tags text[] not null default '{}' check (cardinality(tags) <= 100 and array_position(tags, null) is null),
    source text check (length(source) between 1 and 200),
    properties jsonb not null default '{}' check (jsonb_typeof(properties) = 'object'),
    opted_out_at timestamptz,               -- the person told the brand, or its CRM, to send no marketing
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    merged_into uuid,                       -- the contact that this one was merged into
    -- A hash of the id: previews of large audiences read the contacts of some buckets.
    bucket smallint not null generated always as ((uuid_hash(id) & 1023)::smallint) stored,
    unique (brand_id, user_id),
    unique (brand_id, id),
    foreign key (brand_id, merged_into) references public.contacts (brand_id, id) on delete cascade,
    constraint contacts_position check ((lat is null) = (lon is null)),
    constraint contacts_not_merged_into_itself check (merged_into <> id)
);
create index contacts_user on public.contacts (user_id);
create index contacts_bucket on public.contacts (brand_id, bucket, id) where merged_into is null;
create index contacts_merged on public.contacts (brand_id, merged_into) where merged_into is not null;
create unique index contacts_email on public.contacts (brand_id, email) where merged_into is null;
create unique index contacts_external_id on public.contacts (brand_id, external_id) where merged_into is null;
create index contacts_phone on public.contacts (brand_id, phone) where phone is not null;
create index contacts_tags on public.contacts using gin (tags);
create index contacts_properties on public.contacts using gin (properties jsonb_path_ops);

-- Count the version of a contact up when its profile changes. Its times change with each scan and don't count.
create function app.count_contact_version() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    new.version := old.version + 1;
    return new;
end
$$;
call app.grant_definer('app.count_contact_version()', '{}');
create trigger contacts_version before update of external_id, email, phone, name, locale, country, city, birth_date,
    lat, lon, tags, source, properties, opted_out_at, merged_into on public.contacts
    for each row when (
        (old.external_id, old.email, old.phone, old.name, old.locale, old.country, old.city, old.birth_date, old.lat,
            old.lon, old.tags, old.source, old.properties, old.opted_out_at, old.merged_into)
        is distinct from
        (new.external_id, new.email, new.phone, new.name, new.locale, new.country, new.city, new.birth_date, new.lat,
            new.lon, new.tags, new.source, new.properties, new.opted_out_at, new.merged_into))
    execute function app.count_contact_version();

-- A fan's part in a campaign, folded from public.engagement_events by app.recount_engagements: events in force by kind,
-- and the times of the first and the last.
create table public.engagements (
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null references public.users (id),
    first_at timestamptz not null,
    last_at timestamptz not null,
    scans int not null default 0,
    surveys int not null default 0,
    rewards_granted int not null default 0,
    rewards_claimed int not null default 0,
    rewards_redeemed int not null default 0,
    check_ins int not null default 0,
    conversions int not null default 0,
    primary key (campaign_id, user_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index engagements_brand on public.engagements (brand_id, user_id);
create index engagements_user on public.engagements (user_id);

call app.secure('public.contact_properties', p_job => 'select,insert',
    p_member => '{"select": "contacts:read", "insert": "contacts:write", "update": "contacts:write"}');
call app.secure('public.contacts', p_job => 'select,insert,update,delete', p_member => '{"select": "contacts:read",
    "insert": "contacts:write", "update": "contacts:write", "delete": "contacts:write"}');
-- A member links no account to a contact: scans do.
revoke insert, update on public.contacts from authenticated;
grant insert (id, brand_id, external_id, email, phone, name, locale, country, city, birth_date, lat, lon, tags, source,
    properties, opted_out_at) on public.contacts to authenticated;
grant update (external_id, email, phone, name, locale, country, city, birth_date, lat, lon, tags, source, properties,
    opted_out_at, merged_into, updated_at, first_seen_at, last_seen_at) on public.contacts to authenticated;
revoke insert, update on public.contact_properties from authenticated;
grant insert (brand_id, key, type, label, options) on public.contact_properties to authenticated;
grant update (type, label, options, version, archived_at) on public.contact_properties to authenticated;
call app.secure('public.engagements', p_job => 'select,insert,update,delete', p_fan => 'select', p_admin => 'select',
    p_campaign_column => 'campaign_id', p_member => '{"select": "analytics:read"}');

-- Report whether a user is a member of a brand, has taken part in its campaigns, or is among its contacts.
create function app.is_known_to(p_brand_id uuid, p_user_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from public.users u where u.id = p_user_id and u.brand_id = p_brand_id)
        or exists (select from public.contacts c where c.user_id = p_user_id and c.brand_id = p_brand_id)
        or exists (
            select from public.engagement_events e where e.user_id = p_user_id and e.brand_id = p_brand_id);
end
$$;
call app.grant_definer('app.is_known_to(uuid,uuid)', '{}');
