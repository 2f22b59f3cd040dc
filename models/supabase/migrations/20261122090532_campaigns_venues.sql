-- Look-ups of addresses of venues: the questions of members, and the answers of the geocoder as a cache.

create table public.venue_lookups (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    geocoder text not null,                -- the source that was asked; another one is asked anew
    address text not null check (length(address) between 1 and 200),
    country text check (country ~ '^[A-Z]{2}$'),
    language text not null,
    candidates jsonb,                      -- null until the job has stored the answer
    attribution text,
    created_at timestamptz not null default now(),
    unique nulls not distinct (brand_id, geocoder, address, country, language)
);
create index venue_lookups_created on public.venue_lookups (created_at);

call app.secure('public.venue_lookups', p_job => 'select,update', p_system => 'select,delete',
    p_member => '{"select": "campaigns:write", "insert": "campaigns:write"}');
