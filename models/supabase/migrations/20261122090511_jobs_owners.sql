-- The owner of a job: a member's job belongs to the member's brand, a fan's job to the fan.

-- Return why a caller may not enqueue a job for this brand and user, or null if it may. Inlined into its callers,
-- because each enqueued job pays for it: a search path of its own would prevent that.
create function app.job_owner_refusal(p_claims jsonb, p_caller text, p_brand_id uuid, p_user_id uuid) returns text
language sql stable begin atomic
    select case
        when p_caller in ('authenticated', 'app_job')
            and p_brand_id is distinct from (p_claims #>> '{app_metadata,brand_id}')::uuid
            then 'A job must belong to the brand that enqueues it.'
        -- A person sees the jobs that name them, so a brand may name only these people.
        when p_caller in ('authenticated', 'app_job')
            and p_user_id is not null and not app.is_known_to(p_brand_id, p_user_id)
            then 'A job may name only a member, contact or participant of the brand.'
        when p_caller = 'app_fan'
            and (p_user_id is distinct from (p_claims ->> 'sub')::uuid or p_brand_id is not null)
            then 'A job must belong to the fan who enqueues it.'
    end;
end;
call app.grant_definer('app.job_owner_refusal(jsonb,text,uuid,uuid)', '{}');
