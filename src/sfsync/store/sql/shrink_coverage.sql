-- Forget that readings brought fields that are not read now; until the next reading in full the mirror holds more than
-- the plan, which the star says. A fingerprint of an older version names no fields and stays as it is.
-- $1 text entity, $2 text[] the fields of its plan, as in EntityPlan.coverage.
UPDATE sfsync.watermark AS w
SET mapping = (
    SELECT concat_ws(' ', '*', string_agg(f.field, ' ' ORDER BY f.place))
    FROM string_to_table(w.mapping, ' ') WITH ORDINALITY AS f (field, place)
    WHERE f.field = ANY ($2::text[])
)
WHERE w.entity = $1 AND w.mapping !~ '^[0-9a-f]{64}$'
    AND NOT string_to_array(w.mapping, ' ') <@ ($2::text[] || '*'::text)
