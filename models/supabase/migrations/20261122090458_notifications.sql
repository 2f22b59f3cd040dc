-- Notifications for members of a brand and for system admins, and their preferences.

insert into public.permissions (name, meaning) values
    ('notifications:read', 'read the own notifications and choose how they arrive');
insert into public.role_permissions (role, permission)
select role, 'notifications:read'
from unnest(array['Brand Admin', 'Campaign Manager', 'Creator', 'System Admin']) as role;

create table public.notifications (
    id uuid primary key,
    brand_id uuid references public.brands (id),   -- null: for a system admin
    user_id uuid not null references public.users (id) on delete cascade,
    kind text not null check (kind in ('launch_finished', 'launch_failed', 'limit_near', 'case_waiting',
        'import_finished', 'payment_failed', 'service_down', 'webhook_disabled', 'rewards_low')),
    subject_type text not null,
    subject_id text not null,
    details jsonb not null,                        -- values of the text
    permission text not null,                      -- a reader without it gets no mail
    in_app boolean not null,                       -- false: mailed only
    occurrences int not null default 1 check (occurrences > 0), -- events that this notification reports
    created_at timestamptz not null,
    updated_at timestamptz not null,               -- time of the latest event
    read_at timestamptz
);
create index notifications_user on public.notifications (user_id, id desc);
create index notifications_unread on public.notifications (user_id) where read_at is null and in_app;
create index notifications_subject on public.notifications (brand_id, kind, subject_id, created_at);
create index notifications_created on public.notifications (created_at);

-- A kind without a row has its defaults (models/notifications/kinds.py).
create table public.notification_preferences (
    user_id uuid not null references public.users (id) on delete cascade,
    kind text not null check (kind in ('launch_finished', 'launch_failed', 'limit_near', 'case_waiting',
        'import_finished', 'payment_failed', 'service_down', 'webhook_disabled', 'rewards_low')),
    in_app boolean not null,
    mail boolean not null,
    primary key (user_id, kind)
);

call app.secure('public.notifications', p_own => 'select,update', p_job => 'select,insert,update',
    p_system => 'select,insert,update,delete');
call app.secure('public.notification_preferences', p_own => 'select,insert,update,delete');
revoke update on public.notifications from authenticated, app_admin;
grant update (read_at) on public.notifications to authenticated, app_admin;

-- Return the active people whose role has a permission: members of p_brand_id, or system admins if it is null. Members
-- who see assigned campaigns only are left out if the subject is another campaign.
create function app.notification_readers(
    p_brand_id uuid, p_permission text, p_subject_type text, p_subject_id text
) returns setof uuid
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select u.id from app.active_users u
    where u.brand_id is not distinct from p_brand_id
        and u.role in (select g.role from public.role_permissions g where g.permission = p_permission)
        and (p_subject_type <> 'campaign' or p_brand_id is null
            or u.role in (select g.role from public.role_permissions g where g.permission = 'campaigns:all')
            or exists (select from public.campaign_assignments a
                where a.user_id = u.id and a.campaign_id::text = p_subject_id));
end
$$;
call app.grant_definer('app.notification_readers(uuid,text,text,text)', '{}');

-- Return the recipients of an event in the job's brand, or the system admins if the job has no brand, with the choices
-- that they have made (null: none). Further events of the kind and subject wait for the end of the transaction.
create function app.notification_recipients(
    p_kind text, p_permission text, p_subject_type text, p_subject_id text
) returns table (user_id uuid, in_app boolean, mail boolean)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := (app.claims() #>> '{app_metadata,brand_id}')::uuid;
begin
    perform pg_advisory_xact_lock(hashtextextended(concat_ws(':', 'notification', brand, p_kind, p_subject_id), 0));
    return query
    select r, p.in_app, p.mail
    from app.notification_readers(brand, p_permission, p_subject_type, p_subject_id) r
    left join public.notification_preferences p on p.user_id = r and p.kind = p_kind
    order by r;
end
$$;
call app.grant_definer('app.notification_recipients(text,text,text,text)', array['app_job', 'app_system']);

-- Return the contents of the mail of a notification. No row if it has been read, if the person has turned mails of its
-- kind off, or if the person may no longer read it.
create function app.notification_mail(p_id uuid) returns table (email text, locale text, kind text, details jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select u.email, u.locale, n.kind, n.details
    from public.notifications n join public.users u on u.id = n.user_id
    left join public.notification_preferences p on p.user_id = n.user_id and p.kind = n.kind
    where n.id = p_id and n.read_at is null and coalesce(p.mail, true) and u.email is not null
        and u.id in (select app.notification_readers(n.brand_id, n.permission, n.subject_type, n.subject_id));
end
$$;
call app.grant_definer('app.notification_mail(uuid)', array['app_system']);
