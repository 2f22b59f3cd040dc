"""The data layer: each subject's tables, rules and pure decisions."""
