"""The room that talks to Postgres: schema, apply, position, leadership."""
