-- What a person signs in with, changed: and a word about it to whoever reads the account's mail.

-- Has the person told what has happened to their account: p_what is the name of the letter.
create function app.notify_account(p_user_id uuid, p_what text, p_request jsonb) returns void
language plpgsql security definer set search_path = '' as $$
begin
    perform app.add_job(gen_random_uuid(), 'mail.account_notice', jsonb_build_array(p_user_id, p_what),
        p_subject_type => 'user', p_subject_id => p_user_id::text,
        p_request_id => p_request ->> 'request_id', p_correlation_id => p_request ->> 'correlation_id');
end
$$;
call app.grant_definer('app.notify_account(uuid,text,jsonb)', '{}');
