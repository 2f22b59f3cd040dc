-- MediaID: the local implementation's tables, and the traits of fans that brands may use.

-- People known to MediaID: an anonymous fan, or an account. Linked people share a media_id. Only the local
-- implementation uses this table and the next.
create table public.mediaid_subjects (
    kind text not null check (kind in ('anonymous', 'account')),
    subject_id uuid not null,              -- id of the person, as the caller knows it
    media_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (kind, subject_id)
);
create index mediaid_subjects_media on public.mediaid_subjects (media_id);
call app.secure('public.mediaid_subjects', p_system => 'select,insert,update,delete');

create table public.mediaid_traits (
    media_id uuid not null,
    name text not null check (length(name) between 1 and 60),
    value text not null check (length(value) between 1 and 200),
    observed_at timestamptz not null,
    primary key (media_id, name)
);
call app.secure('public.mediaid_traits', p_system => 'select,insert,update,delete');

-- Traits of a brand's contacts, copied from MediaID. A row exists only while the fan's consent to marketing towards
-- the brand is in force: a withdrawal deletes it at once. Readers compare usable_until with now(): it is the expiry.
create table public.fan_traits (
    brand_id uuid not null references public.brands (id),
    user_id uuid not null references public.users (id) on delete cascade,
    name text not null,
    value text not null,
    observed_at timestamptz not null,
    usable_until timestamptz not null,
    refreshed_at timestamptz not null default now(),
    primary key (brand_id, user_id, name)
);
create index fan_traits_user on public.fan_traits (user_id);
create index fan_traits_refreshed on public.fan_traits (refreshed_at);
call app.secure('public.fan_traits', p_job => 'select', p_system => 'select',
    p_member => '{"select": "contacts:read"}');
create trigger fan_traits_mark_added after insert on public.fan_traits
    referencing new table as changed for each statement execute function app.mark_traits();
create trigger fan_traits_mark_deleted after delete on public.fan_traits
    referencing old table as changed for each statement execute function app.mark_traits();

-- Return the brands that may use the traits of a person, and until when: those with a contact of the person, and a
-- consent to marketing in force. Lock the consents, so that a withdrawal waits for the caller's commit.
create function app.lock_trait_brands(p_user_id uuid) returns table (brand_id uuid, usable_until timestamptz)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    with given as materialized (
        select k.brand_id, k.expires_at from public.consents k
        where k.user_id = p_user_id and k.consent_tier = 'marketing'
            and app.consent_is_in_force(k.revoked_at, k.expires_at)
        for share
    )
    select c.brand_id, max(g.expires_at) from public.contacts c
    join given g on g.brand_id is null or g.brand_id = c.brand_id
    where c.user_id = p_user_id and c.opted_out_at is null
    group by c.brand_id;
end
$$;
call app.grant_definer('app.lock_trait_brands(uuid)', '{}');

-- Return what the profile of a person says, and the brands that may use traits of the person. No row without brands.
create function app.find_trait_fan(p_user_id uuid)
returns table (is_anonymous boolean, locale text, brand_ids uuid[])
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select u.is_anonymous, u.locale, b.brand_ids from public.users u
    cross join (select array_agg(a.brand_id order by a.brand_id) as brand_ids from app.lock_trait_brands(p_user_id) a) b
    where u.id = p_user_id and b.brand_ids is not null;
end
$$;
call app.grant_definer('app.find_trait_fan(uuid)', array['app_system']);

-- Return the caller's traits that brands may use now, by name.
create function app.own_traits()
returns table (name text, value text, observed_at timestamptz, usable_until timestamptz, brand_ids uuid[])
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select t.name, t.value, max(t.observed_at), max(t.usable_until), array_agg(t.brand_id order by t.brand_id)
    from public.fan_traits t
    where t.user_id = (app.claims() ->> 'sub')::uuid and t.usable_until > now()
    group by t.name, t.value order by t.name, t.value;
end
$$;
call app.grant_definer('app.own_traits()', array['authenticated', 'app_fan', 'app_admin']);

-- Replace the traits of a person at all brands that may use them. p_traits: name, value and observed_at of each.
create function app.store_fan_traits(p_user_id uuid, p_traits jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Lock the consents before the rows, as a withdrawal does: the two would deadlock otherwise.
    perform from app.lock_trait_brands(p_user_id);
    delete from public.fan_traits t where t.user_id = p_user_id;
    insert into public.fan_traits (brand_id, user_id, name, value, observed_at, usable_until)
    select b.brand_id, p_user_id, t.name, t.value, t.observed_at, b.usable_until
    from app.lock_trait_brands(p_user_id) as b
    cross join jsonb_to_recordset(p_traits) as t (name text, value text, observed_at timestamptz);
end
$$;
call app.grant_definer('app.store_fan_traits(uuid,jsonb)', array['app_system']);

-- Enqueue the refresh of a person's traits. Waiting refreshes of one person run as one.
create function app.add_trait_refresh(p_user_id uuid) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_job(gen_random_uuid(), 'mediaid.refresh', jsonb_build_array(p_user_id),
        p_coalesce_key => 'mediaid.refresh:' || p_user_id, p_subject_type => 'user', p_subject_id => p_user_id::text,
        p_user_id => p_user_id);
end
$$;
call app.grant_definer('app.add_trait_refresh(uuid)', '{}');

-- An anonymous fan has become an account: link both at MediaID, in the transaction of the change.
create function app.link_at_mediaid() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform app.add_job(gen_random_uuid(), 'mediaid.link', jsonb_build_array(new.id),
        p_unique_key => 'mediaid.link:' || new.id, p_subject_type => 'user', p_subject_id => new.id::text,
        p_user_id => new.id);
    return null;
end
$$;
call app.grant_definer('app.link_at_mediaid()', '{}');
create trigger users_link_at_mediaid after update of is_anonymous on public.users
    for each row when (old.is_anonymous and not new.is_anonymous) execute function app.link_at_mediaid();

-- A consent to marketing begins: copy the traits. It ends: delete them at the brands that it allowed.
create function app.follow_marketing_consent() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if new.revoked_at is null then
        perform app.add_trait_refresh(new.user_id);
    else
        delete from public.fan_traits t
        where t.user_id = new.user_id
            and app.missing_consents(t.user_id, t.brand_id, array['marketing']) <> '{}';
    end if;
    return null;
end
$$;
call app.grant_definer('app.follow_marketing_consent()', '{}');
create trigger consents_follow_marketing after insert or update of revoked_at, expires_at on public.consents
    for each row when (new.consent_tier = 'marketing') execute function app.follow_marketing_consent();

-- A brand has a new contact: copy the traits, if a consent allows it.
create function app.follow_new_contact() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if app.missing_consents(new.user_id, new.brand_id, array['marketing']) = '{}' then
        perform app.add_trait_refresh(new.user_id);
    end if;
    return null;
end
$$;
call app.grant_definer('app.follow_new_contact()', '{}');
create trigger contacts_follow_new after insert on public.contacts
    for each row when (new.user_id is not null) execute function app.follow_new_contact();
