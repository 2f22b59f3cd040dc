-- Import and export of contacts (models/audiences/transfer/).

-- Imports of files. Each batch of rows is one transaction, which also advances position and row_number, so that a job
-- that was killed resumes after the last committed batch.
create table public.contact_imports (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    asset_id uuid not null,                -- the uploaded file; it is deleted before this row
    filename text not null,
    format text not null check (format in ('csv', 'jsonl')),
    encoding text check (encoding in ('utf-8', 'utf-16-le', 'utf-16-be', 'windows-1250', 'windows-1251',
        'windows-1252', 'macintosh')),     -- as asked; null: detected
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    unreadable text check (unreadable in ('empty_file', 'no_columns', 'too_many_columns', 'no_match_key',
        'unknown_column', 'unknown_field', 'file_gone')),
    dry_run boolean not null,
    match_keys text[] not null,
    overwrite text not null check (overwrite in ('all', 'missing')),
    region text,
    day_first boolean not null,
    decimal_comma boolean not null,
    mapping jsonb,                         -- column to field; null: as suggested, set when the file is read
    layout jsonb,                          -- encoding, delimiter and columns that were detected
    size bigint,                           -- bytes of the file in UTF-8
    position bigint not null default 0,    -- bytes after the last row that is counted
    row_number int not null default 0,     -- rows that are counted
    created int not null default 0,
    updated int not null default 0,
    unchanged int not null default 0,
    duplicate int not null default 0,
    refused int not null default 0,
    listed int not null default 0,         -- rows of public.contact_import_rows that it has had
    reasons jsonb not null default '{}',   -- number of refused rows and notices by reason
    errors_asset_id uuid,                  -- file of refused rows and notices
    job_id uuid not null,
    created_at timestamptz not null,
    started_at timestamptz,
    finished_at timestamptz,
    unique (brand_id, id),
    constraint contact_imports_every_row_once
        check (created + updated + unchanged + duplicate + refused = row_number)
);
create index contact_imports_brand on public.contact_imports (brand_id, id desc);
create index contact_imports_finished on public.contact_imports (finished_at);

-- Refused rows and notices of a running import, until its last job writes them to a file. At most 100,000 of an import.
create table public.contact_import_rows (
    brand_id uuid not null,
    import_id uuid not null,
    row_number int not null,
    field text not null,                   -- empty: the whole row
    reason text not null,
    cells jsonb not null,                  -- original values
    primary key (brand_id, import_id, row_number, field, reason),
    foreign key (brand_id, import_id) references public.contact_imports (brand_id, id) on delete cascade
);

-- Keys that rows of a running import have had, as hashes: a later row with one of them is a duplicate. No foreign key:
-- its check for each row would take as long as the row. The end of the import deletes them.
create table public.contact_import_keys (
    brand_id uuid not null,
    import_id uuid not null,
    key_hash bigint not null,              -- hash of the key's name and value
    contact_id uuid not null,              -- in a dry run also a contact that does not exist
    primary key (brand_id, import_id, key_hash)
);

-- Exports of contacts to files.
create table public.contact_exports (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    format text not null check (format in ('csv', 'jsonl', 'parquet')),
    segment_id uuid,                       -- the segment whose members are exported; null: of all contacts
    tag text,                              -- contacts with this tag only
    state text not null check (state in ('waiting', 'running', 'done', 'failed', 'cancelled')),
    exported int not null default 0,
    total int,
    asset_id uuid,                         -- the file; it is deleted after seven days
    job_id uuid not null,
    created_at timestamptz not null,
    finished_at timestamptz,
    foreign key (brand_id, segment_id) references public.audience_segments (brand_id, id)
);
create index contact_exports_brand on public.contact_exports (brand_id, id desc);
create index contact_exports_segment on public.contact_exports (brand_id, segment_id) where segment_id is not null;
create index contact_exports_finished on public.contact_exports (finished_at);

call app.secure('public.contact_imports', p_job => 'select,update', p_system => 'select,update,delete',
    p_member => '{"select": "contacts:read", "insert": "contacts:write", "update": "contacts:write"}');
call app.secure('public.contact_import_rows', p_job => 'select,insert,delete', p_system => 'select,delete');
call app.secure('public.contact_import_keys', p_job => 'select,insert,update,delete', p_system => 'select,delete');
call app.secure('public.contact_exports', p_job => 'select,update', p_system => 'select,update,delete',
    p_member => '{"select": "contacts:export", "insert": "contacts:export", "update": "contacts:export"}');

-- Return the state of the consent to marketing of contacts of the job's brand that have an account: 'given',
-- 'withdrawn' or 'none'. An import reads it to report rows that say otherwise; it never changes a consent.
create function app.marketing_consents(p_contact_ids uuid[]) returns table (contact_id uuid, state text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
        select k.id, case
            when k.user_id is null then 'none'
            when app.missing_consents(k.user_id, k.brand_id, array['marketing']) = '{}' then 'given'
            when exists (
                select from public.consents c where c.user_id = k.user_id and c.consent_tier = 'marketing'
                    and c.revoked_at is not null and (c.brand_id is null or c.brand_id = k.brand_id)
            ) then 'withdrawn'
            else 'none'
        end
        from public.contacts k where k.brand_id = app.job_brand() and k.id = any (p_contact_ids);
end
$$;
call app.grant_definer('app.marketing_consents(uuid[])', array['app_job']);

-- Report whether a job is in the ledger: neither ended nor dead.
create function app.is_live_job(p_job_id uuid) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return exists (select from app.jobs j where j.id = p_job_id);
end
$$;
call app.grant_definer('app.is_live_job(uuid)', array['app_system']);
