"""A simulated Salesforce org, spoken to over the real protocols by the demo, the tests and users' fault drills.

Why: no org is reachable from a test machine, and a mock inside the tests would share the daemon's own mistakes.
It runs as its own process (`python -m sfsync.simorg`) and shares no code with the rest of the package: a common
bug would hide from every test. Everything it says derives from one transactional store with a commit log.
"""
