"""Endpoints of scans: report a scan, describe a code before it is scanned."""
