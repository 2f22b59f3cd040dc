-- Roles, permissions, brands, users and sessions.

create table public.roles (
    id serial primary key,
    name text unique not null
);
insert into public.roles (id, name) values
    (1, 'Brand Admin'), (2, 'Campaign Manager'), (3, 'Creator'), (4, 'Fan'), (5, 'System Admin');

-- Permissions. An API key can have those with for_machines only.
create table public.permissions (
    name text primary key check (name ~ '^[a-z_]+:[a-z_]+$'),
    meaning text not null,
    for_machines boolean not null default false
);
insert into public.permissions (name, meaning, for_machines) values
    ('brand:read', 'read the brand and its settings', true),
    ('brand:write', 'change the name and settings of the brand', false),
    ('brands:read', 'list all brands', false),
    ('brands:write', 'create and archive brands', false),
    ('members:read', 'read the members and invitations of the brand', true),
    ('members:write', 'invite people, change the role of members, remove them', false),
    ('users:read', 'search and read all accounts', false),
    ('users:write', 'suspend accounts and change roles', false),
    ('campaigns:read', 'read campaigns and their codes', true),
    ('campaigns:write', 'create and change campaigns and their codes', true),
    ('campaigns:launch', 'launch campaigns', true),
    ('campaigns:all', 'read all campaigns of the brand, not only assigned ones', false),
    ('campaigns:assign', 'assign creators to campaigns', false),
    ('assets:read', 'read the assets of campaigns', true),
    ('assets:write', 'add and remove assets', true),
    ('surveys:read', 'read the surveys of campaigns and their answers', true),
    ('surveys:write', 'create and change surveys', true),
    ('audiences:read', 'read audience segments', true),
    ('audiences:write', 'create and change audience segments', true),
    ('contacts:read', 'read the contacts of the brand', true),
    ('contacts:write', 'create, change, merge and delete contacts of the brand', true),
    ('contacts:export', 'export contacts and segments as files', false),
    ('scans:read', 'read single scans', true),
    ('analytics:read', 'read the results of campaigns', true),
    ('jobs:read', 'read the jobs of the brand', true),
    ('jobs:write', 'read, replay, cancel and pause the jobs of all brands', false),
    ('billing:read', 'read subscriptions and payments', true),
    ('billing:write', 'change the subscription and pay', false),
    ('audit:read', 'read the audit trail', false),
    ('api_keys:read', 'list API keys', false),
    ('api_keys:write', 'create and revoke API keys', false);

-- Permissions of each role. Fans have none: they read and change their own rows only.
create table public.role_permissions (
    role text not null references public.roles (name),
    permission text not null references public.permissions (name),
    primary key (role, permission)
);
create index role_permissions_permission on public.role_permissions (permission);
insert into public.role_permissions (role, permission)
select role, permission from (values
    ('Brand Admin', array['brand:read', 'brand:write', 'members:read', 'members:write', 'campaigns:read',
        'campaigns:write', 'campaigns:launch', 'campaigns:all', 'campaigns:assign', 'assets:read', 'assets:write',
        'surveys:read', 'surveys:write', 'audiences:read', 'audiences:write', 'contacts:read', 'contacts:write',
        'contacts:export', 'scans:read', 'analytics:read', 'jobs:read', 'audit:read', 'billing:read', 'billing:write',
        'api_keys:read', 'api_keys:write']),
    ('Campaign Manager', array['brand:read', 'members:read', 'campaigns:read', 'campaigns:write', 'campaigns:launch',
        'campaigns:all', 'campaigns:assign', 'assets:read', 'assets:write', 'surveys:read', 'surveys:write',
        'audiences:read', 'audiences:write', 'contacts:read', 'contacts:write', 'scans:read', 'analytics:read',
        'jobs:read']),
    ('Creator', array['brand:read', 'campaigns:read', 'assets:read', 'surveys:read', 'analytics:read']),
    ('System Admin', array['brand:read', 'brand:write', 'brands:read', 'brands:write', 'members:read', 'members:write',
        'users:read', 'users:write', 'jobs:write', 'audit:read'])
) as granted (role, permissions), unnest(permissions) as permission;

create table public.brands (
    id uuid primary key default gen_random_uuid(),
    name text not null check (length(name) between 1 and 200),
    settings jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    version int not null default 1,
    archived_at timestamptz,               -- members can't sign in, and campaigns are paused
    mfa_required_from timestamptz          -- members must have MFA from then on; null: MFA is optional
);
create index brands_created on public.brands (created_at desc, id desc);

create table public.users (
    id uuid primary key default gen_random_uuid(),
    email text check (email = lower(email) and length(email) <= 254),
    password_hash text,
    role_id int not null references public.roles (id),
    brand_id uuid references public.brands (id),
    name text check (length(name) <= 200),
    locale text not null default 'en' check (locale ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$'),
    timezone text not null default 'UTC',
    phone text check (phone ~ '^\+[1-9][0-9]{6,14}$'),
    is_anonymous boolean not null default false,
    identity_provider text,
    email_verified_at timestamptz,
    suspended_at timestamptz,                 -- by a system admin; sign-ins are refused
    -- Supabase: an unknown session is refused if its person last authenticated before this moment.
    sessions_since timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (brand_id, id),
    constraint users_email_unless_anonymous check (is_anonymous or email is not null or identity_provider is not null),
    constraint users_can_sign_in check (is_anonymous or password_hash is not null or identity_provider is not null),
    constraint users_brand_by_role check ((role_id in (1, 2, 3)) = (brand_id is not null))
);
create unique index users_email on public.users (email) where email is not null;
-- Accounts are searched by the prefix of the address.
create index users_email_prefix on public.users (email text_pattern_ops) where email is not null;
create index users_created on public.users (created_at desc, id desc);
-- For app.delete_anonymous_people.
create index users_anonymous on public.users (created_at) where is_anonymous;

create table app.sessions (
    id uuid primary key,
    user_id uuid not null references public.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    aal text not null default 'aal1' check (aal in ('aal1', 'aal2')), -- aal2: MFA was completed
    authenticated_at timestamptz default now(), -- last time a password or a code was verified; null: never
    refreshed_at timestamptz not null default now(),
    expires_at timestamptz not null, -- moved by each refresh
    ends_at timestamptz not null default 'infinity', -- no refresh moves expires_at beyond it
    revoked_at timestamptz,
    address text,
    user_agent text
);
create index sessions_user on app.sessions (user_id);

-- Counters of attempts: sign-ins by account and network, codes, passwords, and mails by address. The key is a keyed
-- hash.
create table app.sign_in_attempts (
    key bytea primary key,
    attempts int not null,
    resets_at timestamptz not null,
    -- The account whose sign-ins the counter limits; null: the address has no account, or the counter limits mails.
    -- No foreign key: its check would take longer for an address that has an account.
    user_id uuid
);
create index sign_in_attempts_user on app.sign_in_attempts (user_id);

-- Unconfirmed addresses, one row for each. A row holds nothing else from the sender of the form: password, name and
-- consents come from the reader of the mail.
create table app.signups (
    id uuid primary key,
    email text not null unique check (email = lower(email) and length(email) <= 254),
    locale text not null,                  -- of the mail, the page that it links to, and the new account
    created_at timestamptz not null default now(),
    expires_at timestamptz not null                -- shortened by app.begin_link once the link is mailed
);
create index signups_expiry on app.signups (expires_at);

create table app.invitations (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    email text not null check (email = lower(email) and length(email) <= 254),
    role_id int not null references public.roles (id) check (role_id in (1, 2, 3)),
    invited_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    revoked_at timestamptz,
    sent_at timestamptz not null default now(),
    mails int not null default 1,
    unique (brand_id, id)
);
create unique index invitations_open on app.invitations (brand_id, email) where used_at is null and revoked_at is null;
create index invitations_email on app.invitations (email, sent_at);
create index invitations_inviter on app.invitations (invited_by);

-- Return the caller's brand if the caller's role has the permission. Return null, so that policies match no row,
-- otherwise and while the session owes MFA. An API key has scopes in place of a role's permissions;
-- app.require_api_key has compared them with the stored ones.
create function app.brand_for(p_permission text) returns uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- Not app.claims(): its call would be a third of the cost, and the policies of every query call this function.
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '');
    user_role text := claims #>> '{app_metadata,user_role}';
begin
    if claims ? 'mfa_pending' then
        return null;
    end if;
    if exists (
        select from public.role_permissions where role = user_role and permission = p_permission
    ) or user_role = 'API Key' and (claims #> '{app_metadata,scopes}') ? p_permission and exists (
        select from public.permissions where name = p_permission and for_machines
    ) then
        return (claims #>> '{app_metadata,brand_id}')::uuid;
    end if;
    return null;
end
$$;
call app.grant_definer('app.brand_for(text)', array['authenticated']);

-- Return each role with its permissions.
create function app.list_permissions() returns table (role text, permission text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query select p.role, p.permission from public.role_permissions p;
end
$$;
call app.grant_definer('app.list_permissions()', array['app_public']);

-- Return each permission with its meaning and its roles, for the documentation.
create function app.describe_permissions() returns table (name text, meaning text, for_machines boolean, roles text[])
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select p.name, p.meaning, p.for_machines, coalesce(array_agg(r.role) filter (where r.role is not null), '{}')
    from public.permissions p left join public.role_permissions r on r.permission = p.name group by p.name;
end
$$;
call app.grant_definer('app.describe_permissions()', array['app_public']);

-- Return the campaigns that the caller is assigned to; null for API keys and for roles that see all campaigns of the
-- brand. Row policies of tables that belong to campaigns call it (`p_campaign_column` of app.secure).
create function app.own_campaigns() returns uuid[]
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    -- Not app.claims(): its call would be a third of the cost, and the policies of every query call this function.
    claims jsonb := nullif(current_setting('request.jwt.claims', true), '');
    user_role text := claims #>> '{app_metadata,user_role}';
begin
    if user_role = 'API Key' or exists (
        select from public.role_permissions where role = user_role and permission = 'campaigns:all'
    ) then
        return null;
    end if;
    return (
        select coalesce(array_agg(a.campaign_id), '{}') from public.campaign_assignments a
        where a.user_id = (claims ->> 'sub')::uuid and a.brand_id = (claims #>> '{app_metadata,brand_id}')::uuid);
end
$$;
call app.grant_definer('app.own_campaigns()', array['authenticated']);

-- Revoke all sessions of a user. Return their number.
create function app.end_sessions(p_user_id uuid) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    ended int;
begin
    update app.sessions s set revoked_at = now() where s.user_id = p_user_id and s.revoked_at is null;
    get diagnostics ended = row_count;
    return ended;
end
$$;
call app.grant_definer('app.end_sessions(uuid)', '{}');

call app.secure('public.roles', p_admin => 'select', p_system => 'select');
call app.secure('public.permissions', p_admin => 'select', p_system => 'select');
call app.secure('public.role_permissions', p_admin => 'select', p_system => 'select');
call app.secure('public.brands', p_brand_column => 'id', p_admin => 'select,insert,update', p_job => 'select',
    p_system => 'select', p_member => '{"select": "brand:read", "update": "brand:write"}');
call app.secure('public.users', p_fan_column => 'id', p_fan => 'select,update', p_admin => 'select,update',
    p_member => '{}');
-- A login can forge claims, so no role has access to the tables of credentials. Definer functions read and write them.
call app.secure('app.sessions', p_definer_only => true);
call app.secure('app.sign_in_attempts', p_definer_only => true);
call app.secure('app.signups', p_definer_only => true);
call app.secure('app.invitations', p_admin => 'select', p_job => 'select', p_member => '{"select": "members:read"}');

-- Members of a brand read and change their own profile.
create policy authenticated_select on public.users for select to authenticated using (id = (select auth.uid()));
create policy authenticated_update on public.users for update to authenticated
    using (id = (select auth.uid())) with check (id = (select auth.uid()));
create policy app_credentials_select on public.users for select to app_credentials using (id = (select auth.uid()));
grant select (id, email, name) on public.users to app_credentials;

-- Only definer functions read and write password hashes.
revoke select, update on public.users from app_fan, app_admin;
grant select (id, email, role_id, brand_id, name, locale, timezone, phone, is_anonymous, identity_provider,
    email_verified_at, suspended_at, created_at, updated_at) on public.users to authenticated, app_fan, app_admin;
grant update (name, locale, timezone, phone, updated_at) on public.users to authenticated, app_fan, app_admin;
revoke update on public.brands from authenticated, app_admin;
grant update (name, settings, mfa_required_from, updated_at, version) on public.brands to authenticated, app_admin;
