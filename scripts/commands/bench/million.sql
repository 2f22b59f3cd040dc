-- A ledger after a month: finished jobs of thirty days, dead letters, and waiting jobs, of fifty brands and ten actors.
-- {finished}, {waiting} and {dead} are numbers of jobs.
set synchronous_commit = off;
set work_mem = '64MB';
set maintenance_work_mem = '128MB';

create function pg_temp.id_at(at timestamptz, n bigint, kind text) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || left(md5(kind || n), 3) || '8'
        || right(md5(kind || n), 15))::uuid
$$;
-- Ascending in time, like the ids of requests.
create function pg_temp.request(n bigint) returns text language sql immutable as $$
    select lpad(to_hex(n + (1::bigint << 40)), 12, '0') || left(md5('request' || n), 20)
$$;
create function pg_temp.brand_id(n bigint) returns uuid language sql immutable as $$
    select lpad(to_hex(n * 7919 % 50 + 1), 32, '0')::uuid
$$;
create function pg_temp.actor(n bigint) returns text language sql immutable as $$
    select 'bench.actor' || n / 50 % 10
$$;

do $$
declare
    day date;
begin
    for day in select generate_series(current_date - 30, current_date - 1, '1 day')::date loop
        execute format(
            'create table app_partitions.job_history_%s partition of app.job_history for values from (%L) to (%L)',
            to_char(day, 'YYYYMMDD'), day, day + 1);
    end loop;
end
$$;

-- Build each index after the rows: it takes a fraction of the time.
create temporary table indexes as
select i.indexrelid::regclass::text as name, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as definition
from pg_index i where i.indrelid = 'app.job_history'::regclass and not i.indisprimary;
do $$
declare
    index text;
begin
    for index in select name from indexes loop
        execute 'drop index ' || index;
    end loop;
end
$$;

insert into app.job_history (id, actor, args, version, state, attempts, crashes, brand_id, subject_type, subject_id,
    request_id, correlation_id, traceparent, created_at, claimed_at, finished_at)
select pg_temp.id_at(at, n, 'done'), pg_temp.actor(n), '["7f0c4f0e"]', 1, 'done', 1, 0, pg_temp.brand_id(n), 'scan', n,
    pg_temp.request(n / 2), pg_temp.request(n / (case when n % 20 = 0 then 40 else 2 end)),
    '00-' || md5('trace' || n / 2) || '-00f067aa0ba902b7-01', at, at + '40 ms', at + '90 ms'
from (
    select n, now() - interval '29 days 23 hours' * (1 - n::float8 / {finished}) - interval '1 second' as at
    from generate_series(1, {finished}) as n
) as finished;

do $$
declare
    index text;
begin
    for index in select definition from indexes loop
        execute index;
    end loop;
end
$$;

insert into app.dead_jobs (id, actor, args, version, state, attempts, crashes, brand_id, subject_type, subject_id,
    request_id, correlation_id, traceparent, error, created_at, claimed_at, finished_at, fingerprint)
select pg_temp.id_at(at, n, 'dead'), pg_temp.actor(n), '["7f0c4f0e"]', 1, 'dead', 8, 0, pg_temp.brand_id(n), 'scan', n,
    md5('dead' || n), md5('dead' || n), '00-' || md5('dead' || n) || '-00f067aa0ba902b7-01',
    jsonb_build_object('kind', 'ValueError', 'message', repeat('x', 200), 'where', jsonb_build_array('scans.py:1')),
    at, at, at + '90 ms', left(md5('fingerprint' || n % 40), 12)
from (select n, now() - n * interval '7 minutes' as at from generate_series(1, {dead}) as n) as dead;

insert into app.actors (name, queue) select pg_temp.actor(n * 50), 'bench' from generate_series(0, 9) as n
on conflict do nothing;

-- One in ten is due later.
insert into app.jobs (id, actor, args, priority, due_at, brand_id, subject_type, subject_id, request_id,
    correlation_id, traceparent, created_at)
select pg_temp.id_at(at, n, 'waiting'), pg_temp.actor(n), '["7f0c4f0e"]', n / 500 % 4,
    at + case when n % 10 = 0 then interval '1 day' else '0' end, pg_temp.brand_id(n), 'scan', n,
    pg_temp.request(-n / 2), pg_temp.request(-n / 2), '00-' || md5('waiting' || n / 2) || '-00f067aa0ba902b7-01', at
from (
    select n, now() - ({waiting} - n) * interval '10 ms' as at from generate_series(1, {waiting}) as n
) as waiting;
