"""Passport: state of the gateway to downstream services, and the rules of their local implementations.

Owns the tables `public.passport_calls` and `app.passport_answers`, and the tables of the local implementations
(`locker_*`, `concierto_*`, `coliseum_*`, `mediaid_*`, `cals_*`), each in the module with the service's name.

Public modules: `calls` (the record), `health` (circuit breaker and retry budget), `services` (routes and states), the
modules of the local services, `refusals` (of Concierto), `contact_merge` (the conflict rule of CALS), `gazetteer` (of
the geocoder), `personal_data`.
May import: `tenants` and the domains below it.
"""
