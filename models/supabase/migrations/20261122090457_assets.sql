-- Assets: files of brands. The storage holds the files, this table their state (models/assets/).

create table public.assets (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    purpose text not null check (purpose in ('media', 'import', 'export')),
    filename text not null check (length(filename) between 1 and 200),
    content_type text not null,
    size bigint not null check (size > 0),         -- announced; once ready: of the checked file
    sha256 text check (sha256 ~ '^[0-9a-f]{64}$'), -- announced; once ready: of the checked file
    state text not null check (state in ('pending', 'checking', 'ready', 'rejected')),
    reason text check (reason in ('missing', 'wrong_size', 'wrong_hash', 'wrong_type', 'damaged', 'too_many_pixels')),
    created_at timestamptz not null,
    upload_until timestamptz,                      -- null: not uploaded by a client
    checked_at timestamptz,
    unique (brand_id, id),
    check ((state = 'rejected') = (reason is not null)),
    check (state <> 'ready' or sha256 is not null)
);
create index assets_brand on public.assets (brand_id, purpose, id desc);
create index assets_to_expire on public.assets (created_at) where state <> 'ready' or purpose <> 'media';

call app.secure('public.assets', p_job => 'select,insert,update', p_system => 'select,delete',
    p_member => '{"select": "assets:read", "insert": "assets:write", "update": "assets:write",
        "delete": "assets:write"}');

-- Tables hold personal data: roles that may only see the assets of campaigns see media only.
create policy authenticated_private on public.assets as restrictive for select to authenticated using (
    purpose = 'media'
    or purpose = 'import' and (select app.brand_for('assets:write')) is not null
    or purpose = 'export' and (select app.brand_for('contacts:export')) is not null);

-- Refuse an upload that would exceed the brand's space. Uploads of a brand are reserved one after the other.
create function app.reserve_asset_space(p_size bigint, p_most_bytes bigint, p_most_files int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('assets:write');
    used record;
begin
    perform from public.brands b where b.id = brand for no key update;
    select count(*) as files, coalesce(sum(a.size), 0) as bytes into used
    from public.assets a where a.brand_id = brand and a.state <> 'rejected';
    if used.files >= p_most_files or used.bytes + p_size > p_most_bytes then
        perform app.refuse(409, 'asset_space_used_up', 'Delete assets that are not used any more.');
    end if;
end
$$;
call app.grant_definer('app.reserve_asset_space(bigint,bigint,int)', array['authenticated']);
