"""Talks to an org: log in, read by REST, receive change events. Knows protocols, decides nothing about records."""
