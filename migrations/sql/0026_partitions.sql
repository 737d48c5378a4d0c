-- A new partition refuses to be emptied, as its table does; triggers for TRUNCATE are not inherited.
-- The other functions: 0023_sealed_sums.sql.

-- Makes the partition of a UTC day of at most 8 days ahead, unless there is one, and moves there what
-- the default partition has of that day. Returns how many rows that were.
CREATE OR REPLACE FUNCTION ledger_partition(parent text, day date) RETURNS bigint LANGUAGE plpgsql
SET lock_timeout = '200ms' AS $$
DECLARE
    key text := ledger_key_of(parent);
    rest text := parent || '_rest';
    made text := parent || to_char(day, '_YYYYMMDD');
    first uuid := ledger_first_id(day::timestamp AT TIME ZONE 'UTC');
    after uuid := ledger_first_id((day + 1)::timestamp AT TIME ZONE 'UTC');
    moved bigint;
BEGIN
    IF day > (now() AT TIME ZONE 'UTC')::date + 8 THEN
        RAISE EXCEPTION 'no partition is made so far ahead: %', day;
    END IF;
    IF NOT pg_try_advisory_xact_lock(5759259) OR to_regclass(quote_ident(made)) IS NOT NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', made, parent);
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
        'EXECUTE FUNCTION refuse_change()', made || '_no_truncate', made);
    PERFORM ledger_lock_alone(rest);
    EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', rest);  -- rows move, they don't change
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE %I >= $1 AND %I < $2 RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', rest, key, key, made) USING first, after;
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER', rest);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, made, first, after);
    RETURN moved;
END $$;
