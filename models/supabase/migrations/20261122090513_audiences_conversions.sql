-- Conversions: purchases and other goals that brands report. Each is the source of an engagement event.
create table public.conversions (
    id uuid primary key,
    brand_id uuid not null,
    campaign_id uuid not null,
    external_id text not null check (length(external_id) between 1 and 200),
    user_id uuid references public.users (id),
    contact_id uuid,                        -- a contact without an account
    value_minor bigint check (value_minor >= 0),
    currency text check (currency ~ '^[A-Z]{3}$'),
    occurred_at timestamptz not null,
    created_at timestamptz not null default now(),
    unique (brand_id, external_id),
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id),
    foreign key (brand_id, contact_id) references public.contacts (brand_id, id) on delete set null (contact_id),
    constraint conversions_value_with_currency check ((value_minor is null) = (currency is null)),
    constraint conversions_person check (user_id is null or contact_id is null)
);
create index conversions_campaign on public.conversions (brand_id, campaign_id, occurred_at);
create index conversions_user on public.conversions (user_id);
create index conversions_contact on public.conversions (brand_id, contact_id) where contact_id is not null;
call app.secure('public.conversions', p_job => 'select', p_campaign_column => 'campaign_id',
    p_member => '{"select": "analytics:read"}');

-- Add a conversion of the caller's brand and return its id and person. p_user_id or p_contact_id names the person; a
-- contact with an account is that account. Outcomes: 'recorded'; 'known': the brand has reported it before; 'reused':
-- the brand has reported another conversion with this external id; 'unknown_person': neither a participant nor a
-- contact.
create function app.add_conversion(
    p_id uuid, p_campaign_id uuid, p_external_id text, p_user_id uuid, p_contact_id uuid, p_value_minor bigint,
    p_currency text, p_occurred_at timestamptz
) returns table (outcome text, id uuid, user_id uuid, contact_id uuid)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand constant uuid := app.brand_for('conversions:write');
    known public.conversions;
begin
    perform from public.campaigns c where c.id = p_campaign_id and c.brand_id = brand;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    user_id := p_user_id;
    if p_contact_id is not null then
        select c.user_id, case when c.user_id is null then c.id end into user_id, contact_id
        from public.contacts c where c.id = p_contact_id and c.brand_id = brand;
    elsif not app.is_known_to(brand, p_user_id) then
        user_id := null;
    end if;
    if user_id is null and contact_id is null then
        outcome := 'unknown_person';
        return next;
        return;
    end if;
    insert into public.conversions (id, brand_id, campaign_id, external_id, user_id, contact_id, value_minor, currency,
        occurred_at)
    values (p_id, brand, p_campaign_id, p_external_id, add_conversion.user_id, add_conversion.contact_id, p_value_minor,
        p_currency, p_occurred_at)
    on conflict (brand_id, external_id) do nothing;
    id := p_id;
    outcome := 'recorded';
    if not found then
        select c.* into known from public.conversions c where c.brand_id = brand and c.external_id = p_external_id;
        id := known.id;
        outcome := case
            when (known.campaign_id, known.value_minor, known.currency, known.occurred_at, known.user_id,
                known.contact_id) is not distinct from (p_campaign_id, p_value_minor, p_currency, p_occurred_at,
                add_conversion.user_id, add_conversion.contact_id) then 'known'
            else 'reused'
        end;
    end if;
    return next;
end
$$;
call app.grant_definer('app.add_conversion(uuid,uuid,text,uuid,uuid,bigint,text,timestamptz)', array['authenticated']);
