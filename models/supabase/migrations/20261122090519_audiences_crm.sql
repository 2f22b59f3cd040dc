-- CRM: notes of contacts, merges, the list of contacts, their timeline, and what they told the brand about marketing.

create table public.contact_notes (
    id uuid primary key,
    brand_id uuid not null,
    contact_id uuid not null,
    text text not null check (length(text) between 1 and 5000),
    created_by uuid references public.users (id) on delete set null,
    version int not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    foreign key (brand_id, contact_id) references public.contacts (brand_id, id) on delete cascade
);
create index contact_notes_contact on public.contact_notes (brand_id, contact_id, created_at, id);
create index contact_notes_author on public.contact_notes (created_by);

-- Merges: `survivor_id` took `merged_id` in, and the contacts in `moved` that had been merged into that one before.
-- `before` and `after` hold the survivor's values that the merge has changed: undoing it restores those that are still
-- the same.
create table public.contact_merges (
    id uuid primary key,
    brand_id uuid not null,
    survivor_id uuid not null,
    merged_id uuid not null,
    moved uuid[] not null default '{}',
    before jsonb not null,
    after jsonb not null,
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    undone_by uuid references public.users (id) on delete set null,
    undone_at timestamptz,
    foreign key (brand_id, survivor_id) references public.contacts (brand_id, id) on delete cascade,
    foreign key (brand_id, merged_id) references public.contacts (brand_id, id) on delete cascade
);
create index contact_merges_survivor on public.contact_merges (brand_id, survivor_id, created_at);
create index contact_merges_merged on public.contact_merges (brand_id, merged_id);
create index contact_merges_author on public.contact_merges (created_by);
create index contact_merges_undoer on public.contact_merges (undone_by);

call app.secure('public.contact_notes', p_member => '{"select": "contacts:read", "insert": "contacts:write",
    "update": "contacts:write", "delete": "contacts:write"}');
call app.secure('public.contact_merges', p_member => '{"select": "contacts:read", "insert": "contacts:write",
    "update": "contacts:write"}');
revoke update on public.contact_notes, public.contact_merges from authenticated;
grant update (text, version, updated_at) on public.contact_notes to authenticated;
grant update (undone_by, undone_at) on public.contact_merges to authenticated;

-- Serialise the changes of the declared properties of the caller's brand. Members may hold no advisory locks.
create function app.lock_contact_properties() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('contact_properties:' || app.job_brand(), 0));
end
$$;
call app.grant_definer('app.lock_contact_properties()', array['authenticated', 'app_job']);

-- Return the words by which a contact is found: of its name, addresses and ids, without accents and case.
-- models.core.texts.folded makes the words of a question in the same way.
create function app.contact_words(p_name text, p_email text, p_phone text, p_external_id text) returns tsvector
language sql immutable return array_to_tsvector(string_to_array(trim(regexp_replace(regexp_replace(
    lower(normalize(concat(p_name, ' ', p_email, ' ', p_phone, ' ', p_external_id), nfkd)),
    U&'[\0300-\036F]', '', 'g'), '[^[:alnum:]]+', ' ', 'g')), ' '));
grant execute on function app.contact_words(text, text, text, text) to app_definer, app_job, authenticated;

-- Orders of the list. Contacts that were merged are not listed.
create index contacts_by_creation on public.contacts (brand_id, created_at, id) where merged_into is null;
create index contacts_by_last_seen on public.contacts (brand_id, coalesce(last_seen_at, '-infinity'), id)
    where merged_into is null;
create index contacts_by_name on public.contacts
    (brand_id, (coalesce(name, chr(65535)) collate "und-x-icu"), id) where merged_into is null;
create index contacts_words on public.contacts using gin (app.contact_words(name, email, phone, external_id));

-- Return up to p_limit contacts of the caller's brand that fulfil all conditions; null is no condition. p_order 1: by
-- creation, 2: by the last scan, 3: by name, those without one last. p_words: a text search query. A definer function:
-- under row security, the indexes of words, tags and properties could not be used. EXECUTE plans for the given
-- conditions: rare ones are looked up, others are checked along the order.
create function app.find_contacts(
    p_order int, p_descending boolean, p_after text, p_after_id uuid, p_limit int, p_words text, p_tags text[],
    p_properties jsonb, p_segment_id uuid, p_email text, p_phone text, p_external_id text
) returns setof public.contacts language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand constant uuid := app.brand_for('contacts:read');
    chosen constant int := least(greatest(coalesce(p_order, 1), 1), 3);
    descends constant int := coalesce(p_descending, false)::int;
begin
    return query execute format($query$
        select c.* from public.contacts c
        where c.brand_id = $1 and c.merged_into is null
            and ($2 is null or (%1$s, c.id) %3$s (%2$s, $3))
            and ($5 is null or app.contact_words(c.name, c.email, c.phone, c.external_id) @@ $5::tsquery)
            and ($6 is null or c.tags @> $6)
            and ($7 is null or c.properties @> $7)
            and ($8 is null or exists (select from public.segment_members m where m.brand_id = $1
                and m.segment_id = $8 and m.contact_id = c.id and m.left_at is null))
            and ($9 is null or c.email = $9)
            and ($10 is null or c.phone = $10)
            and ($11 is null or c.external_id = $11)
        order by %1$s %4$s, c.id %4$s limit $4 $query$,
        (array['c.created_at', 'coalesce(c.last_seen_at, ''-infinity'')',
            '(coalesce(c.name, chr(65535)) collate "und-x-icu")'])[chosen],
        (array['$2::timestamptz', '$2::timestamptz', '$2'])[chosen],
        (array['>', '<'])[1 + descends],
        (array['asc', 'desc'])[1 + descends])
    using brand, p_after, p_after_id, p_limit, p_words, p_tags, p_properties, p_segment_id, p_email, p_phone,
        p_external_id;
end
$$;
call app.grant_definer('app.find_contacts(int,boolean,text,uuid,int,text,text[],jsonb,uuid,text,text,text)',
    array['authenticated']);

-- An entry of the timeline of a contact. `detail` depends on the kind.
create type app.timeline_entry as (id uuid, kind text, at timestamptz, campaign_id uuid, detail jsonb);

-- A page of a timeline: of these contacts and accounts of a brand, entries before a position, of these kinds and this
-- campaign; null is no condition.
create type app.timeline_page as (
    brand_id uuid, contacts uuid[], users uuid[], kinds text[], campaign_id uuid, before_at timestamptz,
    before_id uuid, before_kind text, size int);

-- Return whether an entry belongs to a page: its kind is asked for, and it comes after the position.
create function app.is_on_page(p_page app.timeline_page, p_kind text, p_at timestamptz, p_id uuid) returns boolean
language sql immutable return ((p_page).kinds is null or p_kind = any ((p_page).kinds))
    and ((p_page).before_at is null
        or (p_at, p_id, p_kind) < ((p_page).before_at, (p_page).before_id, (p_page).before_kind));
grant execute on function app.is_on_page(app.timeline_page, text, timestamptz, uuid) to app_definer;

-- Return the page's entries of engagement events: what the contacts did in campaigns. An event that no longer counts
-- has the time of its reversal.
create function app.timeline_of_engagement(p_page app.timeline_page) returns setof app.timeline_entry
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    with found as (
        select e.* from unnest(p_page.users) u cross join lateral (
            select * from public.engagement_events e
            where e.brand_id = p_page.brand_id and e.user_id = u and e.revision % 2 = 1
                and (p_page.campaign_id is null or e.campaign_id = p_page.campaign_id)
                and (p_page.before_at is null or e.occurred_at <= p_page.before_at)
                and app.is_on_page(p_page, e.kind, e.occurred_at, e.id)
            order by e.occurred_at desc, e.id desc limit p_page.size) e
        union all
        select e.* from unnest(p_page.contacts) c cross join lateral (
            select * from public.engagement_events e
            where e.brand_id = p_page.brand_id and e.contact_id = c and e.user_id is null and e.revision % 2 = 1
                and (p_page.campaign_id is null or e.campaign_id = p_page.campaign_id)
                and (p_page.before_at is null or e.occurred_at <= p_page.before_at)
                and app.is_on_page(p_page, e.kind, e.occurred_at, e.id)
            order by e.occurred_at desc, e.id desc limit p_page.size) e
    )
    select e.id, e.kind, e.occurred_at, e.campaign_id, jsonb_strip_nulls(jsonb_build_object(
        'source_id', e.source_id, 'reversed_at', r.received_at, 'value_minor', v.value_minor,
        'currency', v.currency))
    from found e
    left join public.engagement_events r on r.brand_id = e.brand_id and r.kind = e.kind and r.source_id = e.source_id
        and r.occurred_at = e.occurred_at and r.revision = e.revision + 1
    left join public.conversions v on e.kind = 'conversion' and v.id = e.source_id;
end
$$;
call app.grant_definer('app.timeline_of_engagement(app.timeline_page)', '{}');

-- Return the page's entries of campaigns joined, tickets, and guest lists. Each is bounded by the number of campaigns.
create function app.timeline_of_campaigns(p_page app.timeline_page) returns setof app.timeline_entry
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select e.* from (
        select g.campaign_id, 'campaign', g.first_at, g.campaign_id, jsonb_build_object('last_at', g.last_at)
        from public.engagements g where g.brand_id = p_page.brand_id and g.user_id = any (p_page.users)
        union all
        select t.id, 'ticket', t.created_at, t.campaign_id, jsonb_build_object('state', t.state)
        from public.tickets t where t.brand_id = p_page.brand_id and t.user_id = any (p_page.users)
        union all
        select g.id, 'guest', g.created_at, g.campaign_id, jsonb_build_object('party', g.party)
        from public.guests g where g.brand_id = p_page.brand_id and g.contact_id = any (p_page.contacts)
    ) as e (id, kind, at, campaign_id, detail)
    where (p_page.campaign_id is null or e.campaign_id = p_page.campaign_id)
        and app.is_on_page(p_page, e.kind, e.at, e.id)
    order by e.at desc, e.id desc, e.kind desc limit p_page.size;
end
$$;
call app.grant_definer('app.timeline_of_campaigns(app.timeline_page)', '{}');

-- Return the page's entries of consents to the brand or to every brand. They have no campaign.
create function app.timeline_of_consents(p_page app.timeline_page) returns setof app.timeline_entry
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select e.id, 'consent', e.at, null::uuid, jsonb_build_object('action', e.action, 'tier', e.consent_tier,
        'every_brand', e.brand_id is null)
    from unnest(p_page.users) u cross join lateral (
        select * from public.consent_events e
        where e.user_id = u and (e.brand_id is null or e.brand_id = p_page.brand_id)
            and (p_page.before_at is null or e.at <= p_page.before_at)
            and app.is_on_page(p_page, 'consent', e.at, e.id)
        order by e.at desc, e.id desc limit p_page.size) e
    where p_page.campaign_id is null;
end
$$;
call app.grant_definer('app.timeline_of_consents(app.timeline_page)', '{}');

-- Return the page's entries of the CRM: the contact's beginning, its opt-out, notes, and merges. They have no campaign.
create function app.timeline_of_crm(p_page app.timeline_page) returns setof app.timeline_entry
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select e.id, e.kind, e.at, null::uuid, e.detail from (
        select c.id, 'created', c.created_at, jsonb_build_object('source', c.source)
        from public.contacts c where c.brand_id = p_page.brand_id and c.id = any (p_page.contacts)
        union all
        select c.id, 'opt_out', c.opted_out_at, '{}'
        from public.contacts c where c.brand_id = p_page.brand_id and c.id = any (p_page.contacts)
            and c.opted_out_at is not null
        union all
        select n.* from unnest(p_page.contacts) c cross join lateral (
            select n.id, 'note', n.created_at, jsonb_build_object('text', n.text, 'created_by', n.created_by)
            from public.contact_notes n where n.brand_id = p_page.brand_id and n.contact_id = c
                and (p_page.before_at is null or n.created_at <= p_page.before_at)
                and app.is_on_page(p_page, 'note', n.created_at, n.id)
            order by n.created_at desc, n.id desc limit p_page.size) n
        union all
        select m.id, 'merge', m.created_at, jsonb_build_object('merged_id', m.merged_id, 'created_by', m.created_by)
        from public.contact_merges m where m.brand_id = p_page.brand_id and m.survivor_id = any (p_page.contacts)
        union all
        select m.id, 'merge_undone', m.undone_at, jsonb_build_object('merged_id', m.merged_id,
            'undone_by', m.undone_by)
        from public.contact_merges m where m.brand_id = p_page.brand_id and m.survivor_id = any (p_page.contacts)
            and m.undone_at is not null
    ) as e (id, kind, at, detail)
    where p_page.campaign_id is null and app.is_on_page(p_page, e.kind, e.at, e.id)
    order by e.at desc, e.id desc, e.kind desc limit p_page.size;
end
$$;
call app.grant_definer('app.timeline_of_crm(app.timeline_page)', '{}');

-- Return the page's entries of segments that the contacts entered or left. They have no campaign.
create function app.timeline_of_segments(p_page app.timeline_page) returns setof app.timeline_entry
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select e.segment_id, e.kind, e.at, null::uuid, jsonb_build_object('segment_id', e.segment_id, 'name', s.name)
    from (
        select m.segment_id, 'segment_entered', m.entered_at from public.segment_members m
        where m.brand_id = p_page.brand_id and m.contact_id = any (p_page.contacts)
        union all
        select m.segment_id, 'segment_left', m.left_at from public.segment_members m
        where m.brand_id = p_page.brand_id and m.contact_id = any (p_page.contacts) and m.left_at is not null
    ) as e (segment_id, kind, at)
    join public.audience_segments s on s.brand_id = p_page.brand_id and s.id = e.segment_id
    where p_page.campaign_id is null and app.is_on_page(p_page, e.kind, e.at, e.segment_id)
    order by e.at desc, e.segment_id desc, e.kind desc limit p_page.size;
end
$$;
call app.grant_definer('app.timeline_of_segments(app.timeline_page)', '{}');

-- Return up to p_size entries of the timeline of a contact of the caller's brand, latest first, also of the contacts
-- that it has taken in. Each source gives one page at most, so a page costs the same at any depth.
create function app.contact_timeline(
    p_contact_id uuid, p_kinds text[], p_campaign_id uuid, p_before_at timestamptz, p_before_id uuid,
    p_before_kind text, p_size int
) returns setof app.timeline_entry language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand constant uuid := app.brand_for('contacts:read');
    page app.timeline_page;
begin
    select brand, array_agg(c.id), coalesce(array_agg(c.user_id) filter (where c.user_id is not null), '{}'), p_kinds,
        p_campaign_id, p_before_at, p_before_id, p_before_kind, p_size into page
    from public.contacts c where c.brand_id = brand and p_contact_id in (c.id, c.merged_into);
    return query
    select e.* from (
        select * from app.timeline_of_engagement(page)
        union all select * from app.timeline_of_campaigns(page)
        union all select * from app.timeline_of_consents(page)
        union all select * from app.timeline_of_crm(page)
        union all select * from app.timeline_of_segments(page)
    ) e
    order by e.at desc, e.id desc, e.kind desc limit p_size;
end
$$;
call app.grant_definer('app.contact_timeline(uuid,text[],uuid,timestamptz,uuid,text,int)', array['authenticated']);

-- A person gives a consent to marketing, or withdraws it: the opt-out of the person's contacts follows. A withdrawal
-- that leaves no consent in force towards a brand opts the contact there out, and the one that has taken it in. A new
-- consent to the brand, or to every brand, ends that.
create function app.follow_opt_out() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_at constant timestamptz := case when tg_op = 'UPDATE' then new.revoked_at end;
begin
    update public.contacts c set opted_out_at = v_at, updated_at = now()
    from public.contacts own
    where own.user_id = new.user_id and (new.brand_id is null or new.brand_id = own.brand_id)
        and c.brand_id = own.brand_id and c.id in (own.id, own.merged_into)
        and (v_at is null and c.opted_out_at is not null
            or c.opted_out_at is null and app.missing_consents(new.user_id, own.brand_id, array['marketing']) <> '{}');
    return null;
end
$$;
call app.grant_definer('app.follow_opt_out()', '{}');
create trigger consents_follow_opt_out after insert on public.consents
    for each row when (new.consent_tier = 'marketing') execute function app.follow_opt_out();
-- An expiry is no withdrawal: `revoked_at` is then `expires_at`.
create trigger consents_follow_withdrawal after update of revoked_at on public.consents
    for each row when (new.consent_tier = 'marketing' and old.revoked_at is null and new.revoked_at < new.expires_at)
    execute function app.follow_opt_out();

-- A contact is deleted or opted out: the brand may no longer use traits of the person.
create function app.forget_traits() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from public.fan_traits t where t.brand_id = old.brand_id and t.user_id = old.user_id;
    return null;
end
$$;
call app.grant_definer('app.forget_traits()', '{}');
create trigger contacts_forget_traits after delete on public.contacts
    for each row when (old.user_id is not null) execute function app.forget_traits();
create trigger contacts_opt_out_traits after update of opted_out_at on public.contacts
    for each row when (old.user_id is not null and new.opted_out_at is not null) execute function app.forget_traits();
