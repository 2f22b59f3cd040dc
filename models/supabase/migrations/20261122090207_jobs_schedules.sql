-- Occurrences of schedules. An occurrence is one row, so several clocks may run.

create table app.schedule_occurrences (
    schedule text not null,
    due_at timestamptz not null,
    job_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (schedule, due_at)
);
call app.secure('app.schedule_occurrences', p_admin => 'select', p_system => 'select,delete');

-- Enqueue the job of one occurrence. Return false if the occurrence has been enqueued before, by any clock.
create function app.enqueue_occurrence(p_schedule text, p_due_at timestamptz, p_job_id uuid, p_actor text)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into app.schedule_occurrences (schedule, due_at, job_id) values (p_schedule, p_due_at, p_job_id)
    on conflict do nothing;
    if found then
        perform app.add_job(p_job_id, p_actor, '[]', p_subject_type => 'schedule', p_subject_id => p_schedule);
        return true;
    end if;
    return false;
end
$$;
call app.grant_definer('app.enqueue_occurrence(text,timestamptz,uuid,text)', array['app_worker']);

create function app.last_occurrence(p_schedule text) returns timestamptz
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (select max(due_at) from app.schedule_occurrences where schedule = p_schedule);
end
$$;
call app.grant_definer('app.last_occurrence(text)', array['app_worker']);
