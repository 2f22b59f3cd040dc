-- API keys of brands. Only a keyed hash of each key is stored.

create table app.api_keys (
    id uuid primary key,
    brand_id uuid not null references public.brands (id),
    name text not null check (length(name) between 1 and 200),
    prefix text not null,                  -- first characters of the key, shown in lists
    key_hash bytea not null,
    scopes text[] not null check (cardinality(scopes) > 0),
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    last_used_at timestamptz,              -- accurate to about a minute
    revoked_at timestamptz,
    unique (brand_id, id)
);
create index api_keys_hash on app.api_keys (key_hash);
create index api_keys_creator on app.api_keys (created_by);

call app.secure('app.api_keys', p_member => '{"select": "api_keys:read"}');
revoke select on app.api_keys from authenticated;
grant select (id, brand_id, name, prefix, scopes, created_by, created_at, expires_at, last_used_at, revoked_at)
    on app.api_keys to authenticated;

-- Return the permissions that the caller may grant to a key: those of the caller's role that API keys may have.
create function app.grantable_scopes() returns setof text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select p.name from public.permissions p join public.role_permissions r on r.permission = p.name
    where p.for_machines and r.role = app.claims() #>> '{app_metadata,user_role}';
end
$$;
call app.grant_definer('app.grantable_scopes()', array['authenticated']);

-- Return every permission that API keys may have, with its meaning and whether the caller may grant it to a key.
create function app.describe_scopes() returns table (scope text, meaning text, grantable boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select p.name, p.meaning, p.name in (select app.grantable_scopes()) from public.permissions p
    where p.for_machines order by p.name;
end
$$;
call app.grant_definer('app.describe_scopes()', array['authenticated']);

-- Insert a key of the caller's brand, which may have p_most live keys.
create function app.create_api_key(
    p_id uuid, p_name text, p_prefix text, p_key_hash bytea, p_scopes text[], p_lifetime interval, p_most int
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('api_keys:write');
begin
    if brand is null then
        perform app.refuse(403, 'forbidden', 'Needs the permission `api_keys:write`.');
    elsif exists (select from unnest(p_scopes) as s (scope) where s.scope not in (select app.grantable_scopes())) then
        perform app.refuse(422, 'unknown_scope',
            'A key can have permissions of your own role only, and no permission that keys may not have.');
    end if;
    -- One request of a brand at a time: concurrent ones could exceed the limit together.
    perform from public.brands b where b.id = brand for no key update;
    if (select count(*) from app.api_keys k where k.brand_id = brand and k.revoked_at is null and k.expires_at > now())
        >= p_most
    then
        perform app.refuse(409, 'too_many_api_keys', 'Revoke an unused key first.');
    end if;
    insert into app.api_keys (id, brand_id, name, prefix, key_hash, scopes, created_by, expires_at)
    values (p_id, brand, p_name, p_prefix, p_key_hash, p_scopes, (app.claims() ->> 'sub')::uuid, now() + p_lifetime);
end
$$;
call app.grant_definer('app.create_api_key(uuid,text,text,bytea,text[],interval,int)', array['authenticated']);

-- Revoke a key. Return false if it was revoked before.
create function app.revoke_api_key(p_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.api_keys k set revoked_at = now()
    where k.id = p_id and k.brand_id = app.brand_for('api_keys:write') and k.revoked_at is null;
    if found then
        return true;
    end if;
    perform from app.api_keys k where k.id = p_id and k.brand_id = app.brand_for('api_keys:write');
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    return false;
end
$$;
call app.grant_definer('app.revoke_api_key(uuid)', array['authenticated']);

-- Return the brand and scopes of a key, and whether it is valid; no row for an unknown key. p_hashes: its hash under
-- each known root. The use is recorded once a minute.
create function app.identify_api_key(p_hashes bytea[])
returns table (id uuid, brand_id uuid, scopes text[], is_valid boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update app.api_keys k set last_used_at = now()
    where k.key_hash = any (p_hashes) and k.revoked_at is null and k.expires_at > now()
        and (k.last_used_at is null or k.last_used_at < now() - interval '50 seconds');
    return query
    select k.id, k.brand_id, k.scopes, k.revoked_at is null and k.expires_at > now() from app.api_keys k
    where k.key_hash = any (p_hashes);
end
$$;
call app.grant_definer('app.identify_api_key(bytea[])', array['app_public']);

-- Refuse the caller's key if it was revoked or has expired since it was looked up, or if its brand is archived.
create function app.require_api_key() returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    claims jsonb := app.claims();
begin
    perform from app.api_keys k join public.brands b on b.id = k.brand_id
    where k.id = (claims ->> 'sub')::uuid
        and k.brand_id = (claims #>> '{app_metadata,brand_id}')::uuid
        and to_jsonb(k.scopes) = claims #> '{app_metadata,scopes}'
        and k.revoked_at is null
        and k.expires_at > now()
        and b.archived_at is null;
    if not found then
        perform app.refuse(401, 'api_key_invalid', 'The key was revoked or has expired.');
    end if;
end
$$;
call app.grant_definer('app.require_api_key()', array['authenticated', 'app_credentials']);
