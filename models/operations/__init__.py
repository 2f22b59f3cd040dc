"""Own what operators need: metrics, housekeeping and the check of settings before production.

Public modules: `metrics`, `housekeeping`, `settings_check`.
Imports every domain below it.
"""
