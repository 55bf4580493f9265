-- Tell what the role of this connection is and may. $1 text crm schema, $2 text internal schema.
-- One row: database, version, role, is_superuser, may_create_schema, existing_schemas, usable_schemas (that
-- exist and may be filled).
SELECT
    current_database()::text AS database,
    current_setting('server_version') AS version,
    current_user::text AS role,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
    has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
    ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname IN ($1, $2)) AS existing_schemas,
    ARRAY(
        SELECT nspname::text FROM pg_namespace
        WHERE nspname IN ($1, $2) AND has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')
    ) AS usable_schemas
