-- Tickets, guest lists and check-ins of events, as the API shows them. Concierto decides; jobs store its answers here.

insert into public.permissions (name, meaning, for_machines) values
    ('check_ins:write', 'read the guest list and the attendance of events, check people in, undo check-ins', true),
    ('guests:write', 'change the guest lists of events', true);
insert into public.role_permissions (role, permission)
select role, permission from (values
    ('Brand Admin', array['check_ins:write', 'guests:write']),
    ('Campaign Manager', array['check_ins:write', 'guests:write']),
    ('Creator', array['check_ins:write'])
) as granted (role, permissions), unnest(permissions) as permission;

create table public.tickets (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    user_id uuid not null references public.users (id),
    key_version int not null,              -- key that signs the ticket's code (models/campaigns/tickets.py)
    state text not null default 'requested' check (state in ('requested', 'issued', 'refused', 'cancelled')),
    refusal text,                          -- code of Concierto's refusal
    job_id uuid not null,                  -- the job that issues it
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    unique (brand_id, campaign_id, id)
);
create index tickets_user on public.tickets (user_id, id desc);
-- A person has one valid ticket of an event.
create unique index tickets_valid on public.tickets (brand_id, campaign_id, user_id)
    where state in ('requested', 'issued');

create table public.guests (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    contact_id uuid,
    user_id uuid references public.users (id),  -- the person of the contact, if there is one
    name text not null check (length(name) between 1 and 200),
    email text check (email = lower(email) and length(email) <= 254),
    party int not null check (party between 1 and 100),
    state text not null default 'pending' check (state in ('pending', 'listed', 'removing')),
    created_at timestamptz not null default now(),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, contact_id) references public.contacts (brand_id, id) on delete set null (contact_id),
    unique (brand_id, campaign_id, id)
);
create index guests_user on public.guests (user_id);
create index guests_contact on public.guests (brand_id, contact_id);
create index guests_unsettled on public.guests (campaign_id, id) where state <> 'listed';

create table public.check_ins (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    ticket_id uuid,
    guest_id uuid,
    user_id uuid references public.users (id),  -- the person, if known
    scan_id uuid,                          -- the person's own scan, if nobody checked the person in
    people int not null default 1 check (people between 1 and 100),
    gate text check (length(gate) <= 200),
    scanned_at timestamptz not null,       -- time of the arrival, by the clock of the gate
    state text not null default 'pending' check (state in ('pending', 'accepted', 'refused', 'undone')),
    refusal text,                          -- code of Concierto's refusal
    job_id uuid not null,                  -- the job that decides it
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, campaign_id, ticket_id) references public.tickets (brand_id, campaign_id, id),
    foreign key (brand_id, campaign_id, guest_id) references public.guests (brand_id, campaign_id, id)
        on delete set null (guest_id)
);
create index check_ins_campaign on public.check_ins (brand_id, campaign_id, id desc);
create index check_ins_ticket on public.check_ins (brand_id, campaign_id, ticket_id);
create index check_ins_guest on public.check_ins (brand_id, campaign_id, guest_id);
create index check_ins_user on public.check_ins (user_id);
create unique index check_ins_scan on public.check_ins (brand_id, scan_id);

call app.secure('public.tickets', p_job => 'select,update', p_system => 'select,delete',
    p_campaign_column => 'campaign_id', p_member => '{"select": "check_ins:write"}');
call app.secure('public.guests', p_job => 'select,update,delete', p_system => 'select,delete',
    p_campaign_column => 'campaign_id',
    p_member => '{"select": "check_ins:write", "insert": "guests:write", "update": "guests:write"}');
call app.secure('public.check_ins', p_job => 'select,update', p_system => 'select,delete',
    p_campaign_column => 'campaign_id', p_member => '{"select": "check_ins:write", "insert": "check_ins:write"}');

-- Members may change the state of a guest only.
revoke update on public.guests from authenticated;
grant update (state) on public.guests to authenticated;

-- Refuse guests that would exceed the limit of an event's list. Requests about one event come one after the other:
-- concurrent ones could exceed it together.
create function app.reserve_guests(p_campaign_id uuid, p_more int, p_most int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('guests:write');
begin
    perform from public.campaigns c where c.id = p_campaign_id and c.brand_id = brand for no key update;
    if p_more + (select count(*) from public.guests g where g.brand_id = brand and g.campaign_id = p_campaign_id)
        > p_most
    then
        perform app.refuse(409, 'guest_list_full', '');
    end if;
end
$$;
call app.grant_definer('app.reserve_guests(uuid,int,int)', array['authenticated']);

-- Return up to p_limit tickets of the caller, newest first, that follow the ticket p_after; with p_id this one only. A
-- person of any role may have tickets, also of other brands, so no row policy shows them.
create function app.own_tickets(p_id uuid, p_limit int, p_after uuid) returns table (
    id uuid, campaign_id uuid, campaign_name text, config jsonb, key_version int, state text, refusal text,
    job_id uuid, created_at timestamptz, checked_in_at timestamptz
) language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select t.id, t.campaign_id, c.name, c.config, t.key_version, t.state, t.refusal, t.job_id, t.created_at,
        (select min(i.scanned_at) from public.check_ins i
            where i.brand_id = t.brand_id and i.campaign_id = t.campaign_id and i.ticket_id = t.id
                and i.state = 'accepted')
    from public.tickets t join public.campaigns c on c.brand_id = t.brand_id and c.id = t.campaign_id
    where t.user_id = (app.claims() ->> 'sub')::uuid and (p_id is null or t.id = p_id)
        and (p_after is null or t.id < p_after)
    order by t.id desc limit p_limit;
end
$$;
call app.grant_definer('app.own_tickets(uuid,int,uuid)', array['app_fan', 'authenticated', 'app_admin']);

-- Return the active event that the caller may take part in. Refuse with the reason otherwise.
create function app.require_event(p_campaign_id uuid) returns public.campaigns
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    event public.campaigns;
begin
    select c.* into event from public.campaigns c
    where c.id = p_campaign_id and c.type = 'Event' and c.status <> 'Draft';
    if event.id is null then
        perform app.refuse(404, 'not_found', '');
    elsif (app.claims() ->> 'is_anonymous')::boolean then
        perform app.refuse(403, 'account_required', 'Tickets and check-ins need an account.');
    elsif event.status = 'Completed' or (event.config ->> 'ends_at')::timestamptz < now() then
        perform app.refuse(410, 'campaign_ended', '');
    elsif event.status <> 'Active' then
        perform app.refuse(409, 'campaign_not_active', '');
    end if;
    return event;
end
$$;
call app.grant_definer('app.require_event(uuid)', '{}');

-- Enqueue the job of a brand that acts for a person. The person sees it, too.
create function app.add_event_job(
    p_job_id uuid, p_actor text, p_kind text, p_id uuid, p_brand_id uuid, p_user_id uuid, p_request jsonb
) returns uuid language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return app.add_job(p_job_id, p_actor, jsonb_build_array(p_id),
        p_unique_key => p_brand_id || ':' || p_actor || ':' || p_id, p_subject_type => p_kind,
        p_subject_id => p_id::text, p_brand_id => p_brand_id, p_user_id => p_user_id,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
end
$$;
call app.grant_definer('app.add_event_job(uuid,text,text,uuid,uuid,uuid,jsonb)', '{}');

-- Request a ticket for the caller, with the job of the brand that issues it. Return the id of the ticket: the caller's
-- valid one if there is one.
create function app.request_ticket(
    p_id uuid, p_campaign_id uuid, p_key_version int, p_job_id uuid, p_request jsonb
) returns uuid language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    event public.campaigns := app.require_event(p_campaign_id);
    caller uuid := (app.claims() ->> 'sub')::uuid;
    known uuid;
begin
    loop
        insert into public.tickets (id, brand_id, campaign_id, user_id, key_version, job_id)
        values (p_id, event.brand_id, event.id, caller, p_key_version, p_job_id)
        on conflict (brand_id, campaign_id, user_id) where state in ('requested', 'issued') do nothing;
        if found then
            perform app.add_event_job(p_job_id, 'ticket.issue', 'ticket', p_id, event.brand_id, caller, p_request);
            return p_id;
        end if;
        select t.id into known from public.tickets t
        where t.brand_id = event.brand_id and t.campaign_id = event.id and t.user_id = caller
            and t.state in ('requested', 'issued');
        exit when found;  -- Otherwise the ticket was cancelled or refused between the two statements.
    end loop;
    return known;
end
$$;
call app.grant_definer('app.request_ticket(uuid,uuid,int,uuid,jsonb)',
    array['app_fan', 'authenticated', 'app_admin']);

-- Request the cancellation of a ticket of the caller. Return the job; null if the ticket is not valid.
create function app.request_cancellation(p_id uuid, p_job_id uuid, p_request jsonb) returns uuid
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ticket public.tickets;
begin
    select t.* into ticket from public.tickets t where t.id = p_id and t.user_id = (app.claims() ->> 'sub')::uuid;
    if ticket.id is null then
        perform app.refuse(404, 'not_found', '');
    elsif ticket.state in ('requested', 'issued') then
        return app.add_event_job(
            p_job_id, 'ticket.cancel', 'ticket', p_id, ticket.brand_id, ticket.user_id, p_request);
    end if;
    return null;
end
$$;
call app.grant_definer('app.request_cancellation(uuid,uuid,jsonb)', array['app_fan', 'authenticated', 'app_admin']);

-- Return the accepted check-in that prevents a refused one: of the same ticket, guest, or person without either. For
-- the brand, and for the person whose check-in was refused.
create function app.earlier_check_in(p_id uuid) returns table (scanned_at timestamptz, gate text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    refused public.check_ins;
begin
    select i.* into refused from public.check_ins i
    where i.id = p_id and (i.brand_id = app.job_brand() or i.user_id = (app.claims() ->> 'sub')::uuid);
    return query
    select e.scanned_at, e.gate from public.check_ins e
    where e.brand_id = refused.brand_id and e.campaign_id = refused.campaign_id and e.state = 'accepted'
        -- Each alternative has an index: an event may have a hundred thousand check-ins.
        and (e.ticket_id = refused.ticket_id or e.guest_id = refused.guest_id
            or e.user_id = refused.user_id
                and coalesce(refused.ticket_id, refused.guest_id, e.ticket_id, e.guest_id) is null)
    order by e.scanned_at limit 1;
end
$$;
call app.grant_definer('app.earlier_check_in(uuid)', array['app_fan', 'authenticated', 'app_admin']);
