-- Checkpoints of the audit trail: what every chain's head was, signed, and stored outside of this database. What is kept
-- here is for making the next one, and for storing again what the store could not take.

create table app.audit_checkpoints (
    number bigint primary key,
    at timestamptz not null,
    sha256 bytea not null,       -- of the document; the next one names it
    document text not null,
    stored_at timestamptz
);
create index audit_checkpoints_unstored on app.audit_checkpoints (number) where stored_at is null;

call app.append_only('app.audit_checkpoints', p_update => $$app.fill_in_once('stored_at')$$);

-- Where a chain begins is what a stored checkpoint says.
create function app.require_vouched() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
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
create trigger vouched before insert or update on app.audit_starts
    for each row execute function app.require_vouched();
alter table app.audit_starts enable always trigger vouched;

call app.secure('app.audit_checkpoints', p_admin => 'select', p_system => 'select', p_sealer => 'select');
revoke insert, update, delete on app.audit_checkpoints from app_definer;

-- How many entries have no seal, for how many seconds the oldest of them has had none, how long ago the newest stored
-- checkpoint was made, and for how long there should have been one: null where there is nothing to tell of.
create function app.audit_gauges(out unsealed bigint, out oldest_unsealed_seconds float8, out checkpoint_seconds float8,
    out first_sealed_seconds float8)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    select count(*), coalesce(extract(epoch from now() - min(l.timestamp)), 0)::float8
    into unsealed, oldest_unsealed_seconds from public.audit_logs l where l.seq is null;
    select extract(epoch from now() - c.at)::float8 into checkpoint_seconds
    from app.audit_checkpoints c where c.stored_at is not null order by c.number desc limit 1;
    if checkpoint_seconds is null then  -- Only then does anybody ask, and there is no index for it.
        select extract(epoch from now() - min(l.sealed_at))::float8 into first_sealed_seconds
        from public.audit_logs l where l.seq = 1;
    end if;
end
$$;
call app.grant_definer('app.audit_gauges()', array['app_public', 'app_system', 'app_sealer']);

-- Rights that only the functions of app_audit_definer have (…_audit_sealing.sql).
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

-- The trail belongs to a role that nobody is a member of, and that may itself change nothing: whoever runs migrations
-- can't step over its triggers in passing. What a superuser does is found by verification.
do $$
declare
    kept regclass;
begin
    if not exists (select from pg_roles where rolname = 'app_audit_owner') then
        create role app_audit_owner nologin;
    end if;
    execute format('grant app_audit_owner to %I', current_user);
    grant usage, create on schema public, app to app_audit_owner;
    foreach kept in array array['public.audit_logs', 'app.audit_personal_values', 'app.audit_chains',
        'app.audit_starts', 'app.audit_checkpoints']::regclass[]
    loop
        execute format('grant select on table %s to %I', kept, current_user);
        execute format('alter table %s owner to app_audit_owner', kept);
        execute format('revoke insert, update, delete, truncate, references, trigger on table %s from app_audit_owner', kept);
    end loop;
    revoke create on schema public, app from app_audit_owner;
    execute format('revoke app_audit_owner from %I', current_user);
end
$$;
