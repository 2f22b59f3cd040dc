-- Functions that change a sealed trail: set seals, advance heads, keep checkpoints, delete expired entries and erase
-- personal values. Each function checks the trail's integrity for every caller. All belong to app_audit_definer. The
-- migrating role is a member of it only during the migration. Only the seal process may call them.
grant app_audit_definer to current_user;

-- Return the chains that have unsealed entries. The nil UUID names the platform's chain.
create function app.unsealed_chains() returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    -- A recursive query probes the index once for each chain. A DISTINCT would read every unsealed entry.
    with recursive waiting as (
        (select l.brand_id from public.audit_logs l where l.seq is null and l.brand_id is not null
        order by l.brand_id limit 1)
        union all
        select (select l.brand_id from public.audit_logs l where l.seq is null and l.brand_id > w.brand_id
            order by l.brand_id limit 1)
        from waiting w where w.brand_id is not null
    )
    select w.brand_id from waiting w where w.brand_id is not null
    union all
    (select '00000000-0000-0000-0000-000000000000'::uuid
    from public.audit_logs l where l.seq is null and l.brand_id is null limit 1);
end
$$;
call app.grant_definer('app.unsealed_chains()', array['app_sealer'], 'app_audit_definer');

-- Lock a chain's head until the transaction ends, and return it. Create the head of a new chain. Both results are null
-- while another transaction holds the lock.
create function app.get_chain_head_for_update(p_chain_id uuid, out seq bigint, out mac bytea)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not exists (select from app.audit_chains c where c.chain_id = p_chain_id) then
        insert into app.audit_chains (chain_id) values (p_chain_id) on conflict do nothing;
    end if;
    select c.seq, c.mac into get_chain_head_for_update.seq, get_chain_head_for_update.mac
    from app.audit_chains c where c.chain_id = p_chain_id for update skip locked;
end
$$;
call app.grant_definer('app.get_chain_head_for_update(uuid)', array['app_sealer'], 'app_audit_definer');

-- Append entries to one chain and advance its head. The first of p_ids follows entry p_after, whose MAC is p_previous.
-- Refuse a gap, another predecessor, an entry of another chain, and a sealed entry.
create function app.seal_entries(
    p_chain_id uuid, p_after bigint, p_previous bytea, p_key_version int, p_sealed_at timestamptz, p_ids uuid[],
    p_macs bytea[]
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    head app.audit_chains;
    sealed int;
begin
    -- Compare the head with the caller's. The row lock keeps other sealers out until the end of the transaction.
    select * into head from app.audit_chains c where c.chain_id = p_chain_id for update;
    if head.seq is distinct from p_after or head.mac is distinct from p_previous then
        perform app.refuse(409, 'audit_chain_has_moved', 'Read the head again.');
    end if;
    if cardinality(p_ids) = 0 or cardinality(p_ids) <> cardinality(p_macs)
        or exists (select from unnest(p_macs) as m (mac) where m.mac is null or octet_length(m.mac) <> 32)
    then
        perform app.refuse(422, 'audit_seal_invalid', 'Each entry needs a MAC of 32 bytes.');
    end if;
    -- Number the entries without gaps. An entry that is missing, sealed or of another chain is not updated.
    update public.audit_logs l set seq = p_after + s.number, key_version = p_key_version, mac = s.mac,
        sealed_at = p_sealed_at
    from unnest(p_ids, p_macs) with ordinality as s (id, mac, number)
    where l.id = s.id and l.seq is null
        and coalesce(l.brand_id, '00000000-0000-0000-0000-000000000000') = p_chain_id;
    get diagnostics sealed = row_count;
    if sealed <> cardinality(p_ids) then
        perform app.refuse(409, 'audit_entries_differ',
            format('%s of %s entries could be sealed.', sealed, cardinality(p_ids)));
    end if;
    update app.audit_chains c set seq = p_after + sealed, mac = p_macs[sealed] where c.chain_id = p_chain_id;
end
$$;
call app.grant_definer('app.seal_entries(uuid,bigint,bytea,integer,timestamptz,uuid[],bytea[])', array['app_sealer'],
    'app_audit_definer');

-- Return whether an entry of this number and MAC is or was in a chain: it is stored, or the chain starts after it.
create function app.is_chain_entry(p_chain_id uuid, p_seq bigint, p_mac bytea) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from public.audit_logs l
            where coalesce(l.brand_id, '00000000-0000-0000-0000-000000000000') = p_chain_id and l.seq = p_seq
                and l.mac = p_mac)
        or exists (select from app.audit_starts s
            where s.chain_id = p_chain_id and s.seq = p_seq and s.mac = p_mac);
end
$$;
call app.grant_definer('app.is_chain_entry(uuid,bigint,bytea)', '{}', 'app_audit_definer');

-- Keep the next checkpoint before it is stored outside. Return false if p_number is not the next number. Refuse a
-- checkpoint that names another predecessor, or heads or starts that no chain has.
create function app.add_checkpoint(p_number bigint, p_at timestamptz, p_document text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    statement jsonb := p_document::jsonb;
    newest app.audit_checkpoints;
begin
    select * into newest from app.audit_checkpoints c order by c.number desc limit 1;
    if p_number <> coalesce(newest.number, 0) + 1 then
        return false;
    end if;
    if (statement ->> 'number')::bigint is distinct from p_number
        or jsonb_typeof(statement -> 'chains') is distinct from 'array'
        or jsonb_typeof(statement -> 'starts') is distinct from 'array'
        or statement ->> 'previous' is distinct from encode(newest.sha256, 'hex')
        or exists (select from jsonb_array_elements((statement -> 'chains') || (statement -> 'starts')) as head
            where not app.is_chain_entry(
                (head ->> 'chain')::uuid, (head ->> 'seq')::bigint, decode(head ->> 'mac', 'hex')))
    then
        perform app.refuse(422, 'audit_checkpoint_invalid', 'The checkpoint does not match the chains.');
    end if;
    insert into app.audit_checkpoints (number, at, sha256, document)
    values (p_number, p_at, sha256(convert_to(p_document, 'UTF8')), p_document) on conflict do nothing;
    return found;
end
$$;
call app.grant_definer('app.add_checkpoint(bigint,timestamptz,text)', array['app_sealer'], 'app_audit_definer');

-- Record that a checkpoint is stored outside the database. Refuse any but the next one: a gap would hide a loss.
create function app.mark_checkpoint_stored(p_number bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    next_unstored bigint := (select min(c.number) from app.audit_checkpoints c where c.stored_at is null);
begin
    if p_number > coalesce(next_unstored, (select coalesce(max(c.number), 0) from app.audit_checkpoints c)) then
        perform app.refuse(409, 'audit_checkpoint_not_next', 'Checkpoints are stored in their order.');
    end if;
    update app.audit_checkpoints c set stored_at = clock_timestamp()
    where c.number = p_number and c.stored_at is null;
end
$$;
call app.grant_definer('app.mark_checkpoint_stored(bigint)', array['app_sealer'], 'app_audit_definer');

-- Let a chain start after this entry. A stored checkpoint must name this start (app.require_stored_checkpoint), and the
-- entry must belong to the chain.
create function app.begin_chain_after(p_chain_id uuid, p_seq bigint, p_mac bytea, p_checkpoint bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if not app.is_chain_entry(p_chain_id, p_seq, p_mac) then
        perform app.refuse(422, 'audit_start_invalid', 'The chain has no such entry.');
    end if;
    insert into app.audit_starts as s (chain_id, seq, mac, checkpoint) values (p_chain_id, p_seq, p_mac, p_checkpoint)
    on conflict (chain_id) do update set seq = excluded.seq, mac = excluded.mac, checkpoint = excluded.checkpoint
    where s.seq < excluded.seq;
end
$$;
call app.grant_definer('app.begin_chain_after(uuid,bigint,bytea,bigint)', array['app_sealer'], 'app_audit_definer');

-- Delete up to p_limit entries up to a chain's start, oldest first, and their personal values. Return their number.
-- app.require_expired_entry refuses any other entry, and any that is younger than a year.
create function app.delete_expired_entries(p_chain_id uuid, p_limit int) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    start bigint := (select s.seq from app.audit_starts s where s.chain_id = p_chain_id);
    deleted_ids uuid[];
begin
    with deleted as (
        delete from public.audit_logs l where l.id in (
            select o.id from public.audit_logs o
            where coalesce(o.brand_id, '00000000-0000-0000-0000-000000000000') = p_chain_id and o.seq <= start
            order by o.seq limit p_limit)
        returning l.id
    ) select coalesce(array_agg(d.id), '{}') into deleted_ids from deleted d;
    delete from app.audit_personal_values v where v.id = any (deleted_ids);
    return cardinality(deleted_ids);
end
$$;
call app.grant_definer('app.delete_expired_entries(uuid,int)', array['app_sealer'], 'app_audit_definer');

-- Erase the personal values of a person: addresses and user agents of their own acts, and the personal values in
-- entries about them or about p_record_ids (their invitations, sign-ups and similar records). Return the number of
-- entries that lost a value. The chain verifies as before, and these values verify as erased.
create function app.erase_audit_values(p_user_id uuid, p_record_ids uuid[] default '{}') returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    own constant text[] := array['address', 'user_agent'];
    records constant uuid[] := p_record_ids || p_user_id;
    erased int;
begin
    -- Find the person's entries. Sealed and unsealed entries have separate indexes, so each has its own branch.
    with found_entries as (
        select l.id from public.audit_logs l where l.seq is not null and l.user_id = p_user_id
        union
        select l.id from public.audit_logs l where l.seq is not null and l.record_id = any (records)
        union
        select l.id from public.audit_logs l
        where l.seq is null and (l.user_id = p_user_id or l.record_id = any (records))
    ),
    -- Keep the values that don't belong to the person.
    remaining as (
        select v.id, v.contents
            - case when l.user_id = p_user_id then own else '{}' end
            - case when l.record_id = any (records) or l.user_id = p_user_id and l.record_id is null
                then array(select key from jsonb_object_keys(v.contents) as key where key <> all (own))
                else '{}' end as contents
        from found_entries f join public.audit_logs l using (id)
        join app.audit_personal_values v on v.id = f.id
    )
    update app.audit_personal_values v set contents = r.contents
    from remaining r where v.id = r.id and v.contents <> r.contents;
    get diagnostics erased = row_count;
    return erased;
end
$$;
call app.grant_definer('app.erase_audit_values(uuid,uuid[])', '{}', 'app_audit_definer');

revoke app_audit_definer from current_user;
