-- Concierto: events, their guest lists, tickets and check-ins. Only the local implementation of the service uses these
-- tables (models/passport/concierto.py); it locks the row of the event first, so its operations on an event are serial.

create table public.concierto_events (
    id uuid primary key,                   -- chosen by the caller
    brand_id uuid not null references public.brands (id),
    version int not null,                  -- version of the stored plan: an older one never replaces it
    name text not null,
    venue text,
    admission text not null check (admission in ('open', 'guest_list', 'tickets')),
    capacity int check (capacity >= 1),    -- null: no limit
    opens_at timestamptz,                  -- null: from the publication on
    ends_at timestamptz not null,
    closed_at timestamptz,                 -- arrivals after this time are refused
    issued int not null default 0,         -- tickets that are not cancelled
    inside int not null default 0 check (inside >= 0), -- people who are checked in
    created_at timestamptz not null default now(),
    unique (brand_id, id)
);
create index concierto_events_ended on public.concierto_events (ends_at);

create table public.concierto_guests (
    event_id uuid not null,
    id uuid not null,
    brand_id uuid not null,
    party int not null check (party >= 1),
    arrived int not null default 0,        -- people of the party who are checked in
    removed_at timestamptz,
    primary key (brand_id, event_id, id),
    foreign key (brand_id, event_id) references public.concierto_events (brand_id, id)
);

create table public.concierto_tickets (
    event_id uuid not null,
    id uuid not null,
    brand_id uuid not null,
    subject uuid not null,
    cancelled_at timestamptz,
    primary key (brand_id, event_id, id),
    foreign key (brand_id, event_id) references public.concierto_events (brand_id, id)
);
create unique index concierto_tickets_subject on public.concierto_tickets (brand_id, event_id, subject)
    where cancelled_at is null;

create table public.concierto_check_ins (
    event_id uuid not null,
    id uuid not null,
    brand_id uuid not null,
    ticket_id uuid,
    guest_id uuid,
    subject uuid,                          -- a person without ticket and guest list
    people int not null check (people >= 1),
    at timestamptz not null,
    gate text,
    undone_at timestamptz,
    primary key (brand_id, event_id, id),
    foreign key (brand_id, event_id) references public.concierto_events (brand_id, id),
    foreign key (brand_id, event_id, ticket_id) references public.concierto_tickets (brand_id, event_id, id),
    foreign key (brand_id, event_id, guest_id) references public.concierto_guests (brand_id, event_id, id)
);
create index concierto_check_ins_guest on public.concierto_check_ins (brand_id, event_id, guest_id);
create index concierto_check_ins_ticket on public.concierto_check_ins (brand_id, event_id, ticket_id);
-- A ticket and a person check in once.
create unique index concierto_check_ins_ticket_once on public.concierto_check_ins (brand_id, event_id, ticket_id)
    where undone_at is null;
create unique index concierto_check_ins_subject_once on public.concierto_check_ins (brand_id, event_id, subject)
    where undone_at is null;

call app.secure('public.concierto_events', p_job => 'select,insert,update', p_system => 'select,delete');
call app.secure('public.concierto_guests', p_job => 'select,insert,update', p_system => 'select,delete');
call app.secure('public.concierto_tickets', p_job => 'select,insert,update', p_system => 'select,delete');
call app.secure('public.concierto_check_ins', p_job => 'select,insert,update', p_system => 'select,delete');
