-- Assignments: the campaigns that a Creator may see. Members with other roles see all campaigns of their brand.

-- Assign a Creator to a campaign. Return false if the assignment exists already.
create function app.assign_campaign(p_campaign_id uuid, p_user_id uuid) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    brand uuid := app.brand_for('campaigns:assign');
    role_name text;
begin
    perform from public.campaigns c where c.id = p_campaign_id and c.brand_id = brand;
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
    -- The lock keeps the role until the commit: app.set_role deletes the assignments that it finds.
    select r.name into role_name from public.users u join public.roles r on r.id = u.role_id
    where u.id = p_user_id and u.brand_id = brand for share of u;
    if not found then
        perform app.refuse(404, 'not_found');
    elsif role_name <> 'Creator' then
        perform app.refuse(409, 'not_a_creator', 'This member sees all campaigns of the brand.');
    end if;
    insert into public.campaign_assignments (brand_id, campaign_id, user_id, assigned_by)
    values (brand, p_campaign_id, p_user_id, (app.claims() ->> 'sub')::uuid) on conflict do nothing;
    return found;
end
$$;
call app.grant_definer('app.assign_campaign(uuid,uuid)', array['authenticated']);

-- Delete the assignment of a Creator to a campaign.
create function app.unassign_campaign(p_campaign_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    delete from public.campaign_assignments a
    where a.campaign_id = p_campaign_id and a.user_id = p_user_id and a.brand_id = app.brand_for('campaigns:assign');
    if not found then
        perform app.refuse(404, 'not_found');
    end if;
end
$$;
call app.grant_definer('app.unassign_campaign(uuid,uuid)', array['authenticated']);

-- Return the Creators who are assigned to a campaign.
create function app.assignments(p_campaign_id uuid)
returns table (user_id uuid, email text, name text, assigned_by uuid, created_at timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select a.user_id, u.email, u.name, a.assigned_by, a.created_at
    from public.campaign_assignments a join public.users u on u.id = a.user_id
    where a.campaign_id = p_campaign_id and a.brand_id = app.brand_for('campaigns:assign');
end
$$;
call app.grant_definer('app.assignments(uuid)', array['authenticated']);
