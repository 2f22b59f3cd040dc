-- One scan per commit. No two connections use the same phone. For pgbench.
\set i :i + 1
\set n (:i * :clients + :client_id) % :fans + 1
SELECT answer.decision
FROM bench.phones AS phone, app.record_scans(jsonb_build_array(phone.row || jsonb_build_object(
    'id', '00000000-0000-7000-8001-' || lpad(nextval('bench.ids')::text, 12, '0'),
    'job_id', '00000000-0000-7000-8002-' || lpad(nextval('bench.ids')::text, 12, '0'),
    'client_scan_id', '00000000-0000-7000-8003-' || lpad(nextval('bench.ids')::text, 12, '0')))) AS answer
WHERE phone.n = :n;
