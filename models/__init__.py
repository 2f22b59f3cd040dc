"""The data layer: tables, rules and pure decisions of each domain."""
