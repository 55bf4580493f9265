"""HTTP for operators and applications: is it alive, is it ready, the figures, and the people.

Why: it listens on loopback unless it is told otherwise and given a token; what a page shows is decided by
`sync/health.py`, `sync/metrics.py` and `store/people.py`, so that nothing here can disturb the work.
"""
