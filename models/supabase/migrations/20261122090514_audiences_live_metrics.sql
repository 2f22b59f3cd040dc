-- The last answer of Coliseum about each campaign whose live metrics were asked for.
create table public.campaign_metrics (
    brand_id uuid not null,
    campaign_id uuid primary key,
    as_of timestamptz not null,
    totals jsonb not null,                  -- kind → number of events
    minutes jsonb not null,                 -- list of minute, kind, n
    foreign key (brand_id, campaign_id) references public.campaigns (brand_id, id)
);
create index campaign_metrics_brand on public.campaign_metrics (brand_id, campaign_id);
call app.secure('public.campaign_metrics', p_job => 'select,insert,update', p_campaign_column => 'campaign_id',
    p_member => '{"select": "analytics:read"}');
