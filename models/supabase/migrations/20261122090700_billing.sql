-- Mirror of Stripe's subscriptions, payments and coupons. Ids are Stripe's.

create table public.subscriptions (
    id text primary key,
    user_id uuid not null references public.users (id),
    brand_id uuid not null references public.brands (id),
    plan_id text,
    status text,
    started_at timestamptz,
    ended_at timestamptz
);
create index subscriptions_brand on public.subscriptions (brand_id);
create index subscriptions_user on public.subscriptions (user_id);

create table public.payments (
    id text primary key,
    user_id uuid not null references public.users (id),
    brand_id uuid not null references public.brands (id),
    amount_cents bigint not null,           -- minor currency units, also where the currency has no cents
    currency text not null check (currency ~ '^[a-z]{3}$'),
    status text,
    created_at timestamptz not null default now()
);
create index payments_brand on public.payments (brand_id, created_at);
create index payments_user on public.payments (user_id);

create table public.coupons (
    id text primary key,
    discount_percent int check (discount_percent between 1 and 100),
    amount_off_cents bigint check (amount_off_cents > 0),
    currency text check (currency ~ '^[a-z]{3}$'),
    expires_at timestamptz,
    constraint coupons_one_kind check ((discount_percent is null) <> (amount_off_cents is null)),
    constraint coupons_amount_has_currency check ((amount_off_cents is null) = (currency is null))
);

call app.secure('public.subscriptions', p_admin => 'select', p_system => 'select,insert,update',
    p_member => '{"select": "billing:read"}');
call app.secure('public.payments', p_admin => 'select', p_system => 'select,insert,update',
    p_member => '{"select": "billing:read"}');
call app.secure('public.coupons', p_admin => 'select', p_system => 'select,insert,update');
