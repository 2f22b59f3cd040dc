"""Passport: state of the gateway to downstream services, and the rules of their local implementations.

Owns the tables `public.passport_calls` and `app.passport_answers`, and the tables of the local implementations
(`locker_*`, `concierto_*`, `coliseum_*`, `mediaid_*`, `cals_*`), each in the module with the service's name.

Public modules: `calls`, `health`, `services`, `personal_data` and the services' modules.
May import: `tenants` and the domains below it.
"""
