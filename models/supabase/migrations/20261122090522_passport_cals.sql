-- Synchronisation of contacts and activities with CALS: our side, and the store of the local implementation.

-- Fields of a contact on both sides, with the version of each field.
create table public.contact_sync (
    brand_id uuid not null references public.brands (id),
    contact_id uuid not null,              -- no foreign key: the tombstone outlives the contact
    fields jsonb not null default '{}',    -- name → value, at, source
    opted_out_at timestamptz,              -- a withdrawal: no synchronisation removes it
    deleted_at timestamptz,
    seen_at timestamptz,                   -- `updated_at` of the contact when it was compared last
    dirty boolean not null default false,  -- has changes that CALS does not have
    version int not null default 1,
    primary key (brand_id, contact_id)
);
create index contact_sync_dirty on public.contact_sync (brand_id, contact_id) where dirty;

-- Progress of a brand's synchronisation.
create table public.contact_sync_state (
    brand_id uuid primary key references public.brands (id),
    compared_through timestamptz,
    pull_cursor text,
    pulled_at timestamptz
);

-- Contacts in the local CALS. `seq` numbers the changes of a brand, under the brand's lock.
create table public.cals_contacts (
    brand_id uuid not null references public.brands (id),
    contact_id uuid not null,
    fields jsonb not null default '{}',
    opted_out_at timestamptz,
    deleted_at timestamptz,
    seq bigint not null,
    primary key (brand_id, contact_id)
);
create index cals_contacts_seq on public.cals_contacts (brand_id, seq);

-- Activities in the local CALS, by id.
create table public.cals_activities (
    brand_id uuid not null references public.brands (id),
    activity_id uuid not null,
    contact_id uuid not null,
    kind text not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null default now(),
    primary key (brand_id, activity_id)
);
create index cals_activities_contact on public.cals_activities (brand_id, contact_id, occurred_at);

create index contacts_updated on public.contacts (brand_id, updated_at);
call app.secure('public.contact_sync', p_job => 'select,insert,update');
call app.secure('public.contact_sync_state', p_job => 'select,insert,update', p_system => 'select');
call app.secure('public.cals_contacts', p_job => 'select,insert,update');
call app.secure('public.cals_activities', p_job => 'select,insert,delete');

-- Return the brands with contacts that were changed after the last comparison.
create function app.brands_to_sync() returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select b.id from public.brands b left join public.contact_sync_state s on s.brand_id = b.id
    where b.archived_at is null and exists (
        select from public.contacts c
        where c.brand_id = b.id and c.updated_at > coalesce(s.compared_through, '-infinity'));
end
$$;
call app.grant_definer('app.brands_to_sync()', array['app_system']);
