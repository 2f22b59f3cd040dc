-- Checkpoints of the audit trail: signed lists of the heads of all chains, stored outside this database. The rows here
-- serve to make the next checkpoint, and to retry the storage of checkpoints that the store did not accept.

create table app.audit_checkpoints (
    number bigint primary key,
    at timestamptz not null,
    sha256 bytea not null,       -- of the document; named by the next checkpoint
    document text not null,
    stored_at timestamptz
);
create index audit_checkpoints_unstored on app.audit_checkpoints (number) where stored_at is null;

call app.append_only('app.audit_checkpoints', p_update => $$app.fill_in_once('stored_at')$$);

-- Refuse a chain start that the named checkpoint does not contain, or whose checkpoint is not stored.
create function app.require_stored_checkpoint() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    perform from app.audit_checkpoints c, jsonb_array_elements(c.document::jsonb -> 'starts') as start
    where c.number = new.checkpoint and c.stored_at is not null and start ->> 'chain' = new.chain_id::text
        and (start ->> 'seq')::bigint = new.seq and start ->> 'mac' = encode(new.mac, 'hex');
    if found then
        return new;
    end if;
    raise exception using errcode = 'PT403', message = 'audit_is_append_only';
end
$$;
create trigger stored_checkpoint before insert or update on app.audit_starts
    for each row execute function app.require_stored_checkpoint();
alter table app.audit_starts enable always trigger stored_checkpoint;

call app.secure('app.audit_checkpoints', p_admin => 'select', p_system => 'select', p_sealer => 'select');
revoke insert, update, delete on app.audit_checkpoints from app_definer;

-- Return the state of sealing and checkpoints. All times are in seconds.
--   unsealed                 entries without a seal
--   oldest_unsealed_seconds  age of the oldest of them; 0 if there is none
--   checkpoint_seconds       age of the newest stored checkpoint; null if there is none
--   first_sealed_seconds     time since the first seal, if there is no stored checkpoint; null otherwise
create function app.audit_gauges(out unsealed bigint, out oldest_unsealed_seconds float8, out checkpoint_seconds float8,
    out first_sealed_seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select count(*), coalesce(extract(epoch from now() - min(l.timestamp)), 0)::float8
    into unsealed, oldest_unsealed_seconds from public.audit_logs l where l.seq is null;
    select extract(epoch from now() - c.at)::float8 into checkpoint_seconds
    from app.audit_checkpoints c where c.stored_at is not null order by c.number desc limit 1;
    if checkpoint_seconds is null then  -- Callers need it only then, and no index serves this query.
        select extract(epoch from now() - min(l.sealed_at))::float8 into first_sealed_seconds
        from public.audit_logs l where l.seq = 1;
    end if;
end
$$;
call app.grant_definer('app.audit_gauges()', array['app_public', 'app_system', 'app_sealer']);

-- Grant the rights that only functions of app_audit_definer have (…_audit_sealing.sql).
do $$
declare
    rule record;
begin
    for rule in
        select * from (values
            ('public.audit_logs', 'select', ''),
            ('public.audit_logs', 'update', '(seq, key_version, mac, sealed_at)'),
            ('public.audit_logs', 'delete', ''),
            ('app.audit_personal_values', 'select', ''),
            ('app.audit_personal_values', 'update', '(contents)'),
            ('app.audit_personal_values', 'delete', ''),
            ('app.audit_chains', 'select', ''),
            ('app.audit_chains', 'insert', ''),
            ('app.audit_chains', 'update', ''),
            ('app.audit_starts', 'select', ''),
            ('app.audit_starts', 'insert', ''),
            ('app.audit_starts', 'update', ''),
            ('app.audit_checkpoints', 'select', ''),
            ('app.audit_checkpoints', 'insert', ''),
            ('app.audit_checkpoints', 'update', '(stored_at)')
        ) as rules (relation, command, columns)
    loop
        execute format('create policy app_audit_definer_%1$s on %2$s for %1$s to app_audit_definer %3$s', rule.command,
            rule.relation, case rule.command when 'insert' then 'with check (true)' else 'using (true)' end);
        execute format('grant %s %s on table %s to app_audit_definer', rule.command, rule.columns, rule.relation);
    end loop;
end
$$;

-- Give the tables of the trail to a role without members and without the right to change rows. Otherwise the role that
-- runs migrations could disable their triggers. Verification finds changes by a superuser.
do $$
declare
    relation regclass;
begin
    if not exists (select from pg_roles where rolname = 'app_audit_owner') then
        create role app_audit_owner nologin;
    end if;
    execute format('grant app_audit_owner to %I', current_user);
    grant usage, create on schema public, app to app_audit_owner;
    foreach relation in array array['public.audit_logs', 'app.audit_personal_values', 'app.audit_chains',
        'app.audit_starts', 'app.audit_checkpoints']::regclass[]
    loop
        execute format('grant select on table %s to %I', relation, current_user);
        execute format('alter table %s owner to app_audit_owner', relation);
        execute format('revoke insert, update, delete, truncate, references, trigger on table %s from app_audit_owner',
            relation);
    end loop;
    revoke create on schema public, app from app_audit_owner;
    execute format('revoke app_audit_owner from %I', current_user);
end
$$;
