"""The work of one org: subscription, applier, backfill, sweep, refetch, and the pipeline that wires them."""
