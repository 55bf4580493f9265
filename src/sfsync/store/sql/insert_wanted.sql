-- Ask for the records that these point to and that the mirror does not hold: they get an empty row and a mark.
-- $1 text org, $2 text[] record ids. One row per record that is newly asked for: id.
WITH target AS (
    SELECT DISTINCT
        t.id,
        CASE left(t.id, 3) WHEN '00Q' THEN 'Lead' WHEN '003' THEN 'Contact' ELSE 'Account' END AS entity
    FROM unnest($2::text[]) AS q (id)
    CROSS JOIN LATERAL (
        SELECT o.account_id, o.converted_contact_id, o.master_record_id
        FROM sfsync.record AS o WHERE o.id = q.id AND o.org = $1 AND o.adopted OFFSET 0
    ) AS r
    CROSS JOIN LATERAL (VALUES (r.account_id), (r.converted_contact_id), (r.master_record_id)) AS t (id)
    WHERE left(t.id, 3) IN ('00Q', '003', '001')
), added AS (
    INSERT INTO sfsync.record (org, id, entity, complete, is_deleted, set_by_read, seen_from_ms, seen_to_ms)
    SELECT $1, t.id, t.entity, false, false, false, 0, 0 FROM target AS t
    ON CONFLICT (id, org) DO NOTHING
    RETURNING id, entity
)
INSERT INTO sfsync.dirty AS d (org, record_id, entity, causes, since_ms, next_try_ms)
SELECT $1, a.id, a.entity, '{requested}', 0, 0 FROM added AS a
ON CONFLICT (record_id, org) DO UPDATE SET record_id = EXCLUDED.record_id
RETURNING d.record_id AS id
