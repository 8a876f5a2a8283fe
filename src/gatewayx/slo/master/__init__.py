"""The SLO master: stores what the agents report and answers what operators ask.

One direction of data, one module a step::

    POST /snapshots -> wire (parse, validate) -> ingest (one transaction) -> raw tables
    raw -> rollup (fold into 5 minutes, hours, days; once each) -> rolled-up tables
    raw + rolled-up -> plan (which rows cover a range) -> figures (sums) -> queries, budgets, burn
    burn -> alerts (pending, firing, resolved) -> webhook

The master never computes deltas and never trusts a snapshot: a snapshot is stored whole or refused
whole. Every time is UTC; raw integers carry their unit (`end_ms`, `start_s`).
"""
