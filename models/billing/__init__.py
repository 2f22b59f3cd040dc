"""Billing: mirror of Stripe's subscriptions, payments and coupons. Stripe holds the truth; ids are Stripe's.

Owns the tables `public.subscriptions`, `public.payments` and `public.coupons`.

Public modules: `tables`, `personal_data`.
May import: `scans` and the domains below it.
"""
