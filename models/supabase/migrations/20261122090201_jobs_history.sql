-- Daily partitions of the job history.

-- Partitions are created and dropped by a definer function, in a schema that holds nothing else. app_definer may create
-- objects in this schema only, not beside the functions and tables of schema app.
create schema app_partitions;
grant usage, create on schema app_partitions to app_definer;
grant create on schema app to app_definer;
alter table app.job_history owner to app_definer;
revoke create on schema app from app_definer;

-- Create the partition of one UTC day and move the day's rows from the default partition into it. The caller holds the
-- default partition's lock: a row inserted there meanwhile would make the new partition fail.
create function app.create_job_history_day(p_day date) returns void
language plpgsql set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    partition constant text := format('app_partitions.job_history_%s', to_char(p_day, 'YYYYMMDD'));
begin
    execute format('create table %s (like app.job_history including defaults including constraints)', partition);
    -- Without a partition of its own, the day has its rows in the default partition. Row security is enabled after
    -- this insert: it would hide the rows from us.
    execute format(
        'with moved as (delete from app.job_history where finished_at >= %L and finished_at < %L returning *)'
        ' insert into %s select * from moved', p_day, p_day + 1, partition);
    execute format('alter table %s enable row level security, force row level security', partition);
    execute format('alter table app.job_history attach partition %s for values from (%L) to (%L)',
        partition, p_day, p_day + 1);
end
$$;
call app.grant_definer('app.create_job_history_day(date)', '{}');

-- Create the missing partitions for today (UTC) and the next p_days days. Drop partitions that ended p_keep ago, and
-- delete rows of that age from the default partition. Return the names of the dropped partitions. A row whose day has
-- no partition goes to the default partition, so nothing is lost if this function does not run for a while.
create function app.rotate_job_history(p_days int, p_keep interval) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    missing date[] := array(
        select day::date from generate_series(current_date, current_date + p_days, '1 day') day
        where to_regclass(format('app_partitions.job_history_%s', to_char(day, 'YYYYMMDD'))) is null);
    day date;
    partition record;
begin
    -- Create missing partitions.
    if missing <> '{}' then
        lock table app_partitions.job_history_default in access exclusive mode;
    end if;
    foreach day in array missing loop
        perform app.create_job_history_day(day);
    end loop;
    -- Remove old rows and old partitions.
    delete from app.job_history
    where tableoid = 'app_partitions.job_history_default'::regclass and finished_at < now() - p_keep;
    for partition in
        select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'app.job_history'::regclass and c.relname ~ '_[0-9]{8}$'
            and to_date(right(c.relname, 8), 'YYYYMMDD') + 1 < current_date - p_keep
    loop
        execute format('drop table app_partitions.%I', partition.relname);
        return next partition.relname;
    end loop;
end
$$;
call app.grant_definer('app.rotate_job_history(int,interval)', array['app_system']);
create table app_partitions.job_history_default partition of app.job_history default;
alter table app_partitions.job_history_default owner to app_definer;
alter table app_partitions.job_history_default enable row level security, force row level security;
select app.rotate_job_history(14, '30 days');
