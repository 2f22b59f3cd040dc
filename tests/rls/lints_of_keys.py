"""Lints of keys, indexes and types that separate tenants where policies do not apply, or that make policies slow."""

from tests.rls.lints import Lint

GLOBAL = "(array['public.brands', 'public.users', 'public.roles', 'public.consent_notices']::regclass[])"
"""Tables that every tenant may reference: shared ones, and the tenant itself."""

KEYS = [
    Lint(
        "a table has no primary key",
        """select name from relations where kind in ('r', 'p') and not relispartition
            and not exists (select from pg_constraint c where c.conrelid = relations.oid and c.contype = 'p')""",
        "create table app.broken (id int)",
    ),
    Lint(
        "a foreign key between tables of tenants does not contain the tenant",
        f"""select c.conname::text from pg_constraint c
        where c.contype = 'f' and c.conparentid = 0 and c.confrelid <> all {GLOBAL}
            and c.conrelid in (select oid from tenants) and c.confrelid in (select oid from tenants)
            and not exists (select from pg_attribute a where a.attrelid = c.conrelid and a.attnum = any (c.conkey)
                and a.attname = 'brand_id')""",
        """
        create table public.broken (id uuid primary key, brand_id uuid not null,
            campaign_id uuid references public.campaigns (id));
        """,
        {
            "consent_events_consent_id_fkey": "a consent belongs to a person; its brand may be null",
            "consent_uses_consent_id_fkey": "a consent belongs to a person; its brand may be null",
        },
    ),
    Lint(
        "a unique key of a tenant's table lacks the tenant, so an error reveals rows of others",
        """select i.indexrelid::regclass::text from pg_index i join tenants t on t.oid = i.indrelid
        where i.indisunique
            and not coalesce(pg_get_expr(i.indexprs, i.indrelid) ~ 'brand_id', false)
            -- Callers can't guess a random UUID.
            and not exists (select from pg_attribute a
                where a.attrelid = i.indrelid and a.attnum = any (i.indkey::int2[])
                and (a.attname = 'brand_id' or a.attname in ('id', 'campaign_id') and a.atttypid = 'uuid'::regtype))""",
        "create unique index broken on public.campaigns (name)",
        {
            "device_fingerprints_fingerprint_hash_key": "hashed with the brand's own key",
            "payments_pkey": "Stripe's ids",
            "subscriptions_pkey": "Stripe's ids",
            "users_email": "a person has one account for all brands; the error is not shown",
        },
    ),
    Lint(
        "a foreign key has no index that begins with it",
        """select c.conrelid::regclass || '.' || (select string_agg(a.attname, ',' order by k.ord)
            from unnest(c.conkey) with ordinality k (attnum, ord)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum)
        from pg_constraint c join relations r on r.oid = c.conrelid
        where c.contype = 'f' and c.conparentid = 0 and not exists (select from pg_index i where i.indrelid = c.conrelid
            -- A partial index does not find the other rows.
            and coalesce(pg_get_expr(i.indpred, i.indrelid) ~ 'IS NOT NULL', true)
            and ((i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
                -- An index that begins with another column of the key is selective enough.
                or exists (select from pg_attribute a where a.attrelid = c.conrelid and a.attnum = i.indkey[0]
                    and a.attnum = any (c.conkey) and a.attname <> 'brand_id')))""",
        "alter table public.campaigns add column other_id uuid references public.users (id)",
        dict.fromkeys(
            (
                "app.invitations.role_id",
                "consent_events.brand_id",
                "consent_events.consent_id",
                "consent_events.notice_id",
                "consents.brand_id",
                "consents.notice_id",
                "qr_scans.brand_id,code_id",
                "users.role_id",
            ),
            "never searched by, and the referenced rows are never deleted",
        ),
    ),
    Lint(
        "two indexes are equal",
        """select min(i.indexrelid::regclass::text) from pg_index i join relations r on r.oid = i.indrelid
        group by i.indrelid, i.indkey, i.indclass, i.indoption, i.indcollation, pg_get_expr(i.indexprs, i.indrelid),
            pg_get_expr(i.indpred, i.indrelid)
        having count(*) > 1""",
        "create index broken_a on public.users (name); create index broken_b on public.users (name)",
    ),
    Lint(
        "an index is a prefix of another index",
        """select i.indexrelid::regclass::text from pg_index i join relations r on r.oid = i.indrelid
        join pg_index longer on longer.indrelid = i.indrelid and longer.indexrelid <> i.indexrelid
        where not i.indisunique and i.indpred is null and longer.indpred is null
            and i.indexprs is null and longer.indexprs is null
            and (select relam from pg_class where oid = i.indexrelid) = 403
            and (select relam from pg_class where oid = longer.indexrelid) = 403
            and longer.indkey::text like i.indkey::text || ' %'
            and longer.indoption::text like i.indoption::text || '%'""",
        "create index broken_a on public.users (name); create index broken_b on public.users (name, phone)",
    ),
    Lint(
        "a column's type can't be compared under a policy: its operators aren't leakproof",
        """select r.name || '.' || a.attname from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0
        join pg_type t on t.oid = a.atttypid
        where r.kind in ('r', 'p') and not r.relispartition
            and (t.typtype in ('e', 'r', 'm') or t.typname in ('numeric', 'money', 'varchar'))""",
        "alter table public.campaigns add column broken numeric",
    ),
    Lint(
        "a column's type stops upgrades: it holds catalogue numbers",
        """select r.name || '.' || a.attname from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0
        where a.atttypid in (select oid from pg_type where typname ~ '^reg' and typname not in ('regclass', 'regrole',
            'regtype') and typnamespace = 'pg_catalog'::regnamespace)""",
        "create table app.broken (id int primary key, f regproc)",
    ),
    Lint(
        "a relation has an owner who isn't one of ours",
        """select name from relations where relowner not in ('app_definer'::regrole, 'app_audit_owner'::regrole,
            (select relowner from relations where name = 'public.campaigns'))""",
        "create table app.broken (id int primary key); alter table app.broken owner to authenticated",
    ),
]
