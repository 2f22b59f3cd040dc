"""Insights: hourly rollups of scans and the overview of a brand's campaigns.

Owns the table `public.scan_rollups`. A migration of `scans` creates it, and `models/scans/personal_data.py` declares
its columns. Reads scans, engagements and refusals through SQL.

Public modules: `overview`.
May import: `billing` and the domains below it.
"""
