"""Own plans, subscriptions and payments.

Tables: `subscriptions`, `payments`, `coupons`. Public module: `tables`.
Imports `scans` and the domains below it.
"""
