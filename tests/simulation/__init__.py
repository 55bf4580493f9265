"""Whole histories in virtual time: the real daemon, a simulated org and a real Postgres, all from one seed."""
