"""The relay process: moves due jobs from the ledger to the broker."""
