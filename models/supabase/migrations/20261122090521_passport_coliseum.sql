-- Store of the local implementation of Coliseum: analytics events by id, and totals by campaign and kind.

create table public.coliseum_campaigns (
    brand_id uuid not null references public.brands (id),
    campaign_id uuid not null,
    opened_at timestamptz not null default now(),
    primary key (brand_id, campaign_id)
);

-- Events of the last weeks: an event is counted once for its id.
create table public.coliseum_events (
    brand_id uuid not null,
    event_id uuid not null,
    campaign_id uuid not null,
    kind text not null,
    occurred_at timestamptz not null,
    n smallint not null check (abs(n) = 1),        -- -1: the reversal of another event
    received_at timestamptz not null default now(),
    primary key (brand_id, event_id)
);
create index coliseum_events_campaign on public.coliseum_events (brand_id, campaign_id, occurred_at);
create index coliseum_events_received on public.coliseum_events (received_at);

-- Events in force since the beginning. Reversals are subtracted.
create table public.coliseum_totals (
    brand_id uuid not null,
    campaign_id uuid not null,
    kind text not null,
    n bigint not null,
    primary key (brand_id, campaign_id, kind)
);

-- Contacts that entered and left segments in the last weeks: a move is counted once for its id.
create table public.coliseum_moves (
    brand_id uuid not null,
    event_id uuid not null,
    segment_id uuid not null,
    at timestamptz not null,
    entered int not null check (entered >= 0),
    gone int not null check (gone >= 0),
    received_at timestamptz not null default now(),
    primary key (brand_id, event_id)
);
create index coliseum_moves_received on public.coliseum_moves (received_at);

-- Moves since the beginning.
create table public.coliseum_segments (
    brand_id uuid not null,
    segment_id uuid not null,
    entered bigint not null,
    gone bigint not null,
    primary key (brand_id, segment_id)
);

call app.secure('public.coliseum_moves', p_job => 'select,insert', p_system => 'select,delete');
call app.secure('public.coliseum_segments', p_job => 'select,insert,update');
call app.secure('public.coliseum_campaigns', p_job => 'select,insert');
call app.secure('public.coliseum_events', p_job => 'select,insert', p_system => 'select,delete');
call app.secure('public.coliseum_totals', p_job => 'select,insert,update');
