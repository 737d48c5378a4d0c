-- Lots count what was taken of them; and partitions, made and dropped by functions with bounded
-- arguments, which wait for nobody's lock.
--
-- What the tables and columns mean: gateway/storage/tables/billing.py and audits.py. Who calls them:
-- gateway/storage/ledger/partitions.py. The locks: ticks take ROW EXCLUSIVE on usage_events, pg_dump
-- ACCESS SHARE on everything for as long as it runs. Whoever waits for ACCESS EXCLUSIVE has all ticks
-- wait behind it, so nothing here waits for it: it is tried, and tried again.

-- Takes an amount from an organization's lots: promo first, then what expires first, then the
-- oldest.
CREATE OR REPLACE FUNCTION ledger_burn(organization uuid, amount bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lot record;
    part bigint;
BEGIN
    FOR lot IN
        SELECT id, remaining_nanos FROM credit_lots
        WHERE organization_id = organization AND remaining_nanos > 0
        ORDER BY kind = 'paid', expires_at NULLS LAST, id
    LOOP
        part := least(lot.remaining_nanos, amount);
        UPDATE credit_lots
        SET remaining_nanos = remaining_nanos - part, burned_nanos = burned_nanos + part
        WHERE id = lot.id;
        amount := amount - part;
        EXIT WHEN amount = 0;
    END LOOP;
    IF amount > 0 THEN
        RAISE EXCEPTION 'account % held % more than its lots', organization, amount;
    END IF;
END $$;

-- Returns leased credit to its account, which pays what it owes first. That burns lots in the order in
-- which they give back payments: paid ones first, the newest first. The balance is the same before and
-- after, so there is no entry.
CREATE OR REPLACE FUNCTION ledger_return(account uuid, back bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    owner accounts;
    lot record;
    paid bigint;
    part bigint;
BEGIN
    UPDATE accounts
    SET leased_nanos = leased_nanos - back, available_nanos = available_nanos + back
    WHERE id = account AND owed_nanos = 0;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO owner FROM accounts WHERE id = account;
    paid := least(owner.owed_nanos, back);
    UPDATE accounts SET leased_nanos = leased_nanos - back, owed_nanos = owed_nanos - paid,
        available_nanos = available_nanos + back - paid WHERE id = account;
    IF owner.key_id IS NOT NULL THEN
        RETURN;
    END IF;
    FOR lot IN
        SELECT id, remaining_nanos FROM credit_lots
        WHERE organization_id = account AND remaining_nanos > 0 ORDER BY kind = 'promo', id DESC
    LOOP
        part := least(lot.remaining_nanos, paid);
        UPDATE credit_lots
        SET remaining_nanos = remaining_nanos - part, burned_nanos = burned_nanos + part
        WHERE id = lot.id;
        paid := paid - part;
        EXIT WHEN paid = 0;
    END LOOP;
    IF paid > 0 THEN
        RAISE EXCEPTION 'account % held % more than its lots', account, paid;
    END IF;
END $$;

-- Returns the smallest id of a moment: where a partition begins.
CREATE FUNCTION ledger_first_id(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM moment) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid
$$;

-- Locks a table against everybody, without having anybody wait behind it. Raises lock_not_available
-- when it found no gap between the others in half a second.
CREATE FUNCTION ledger_lock_alone(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR attempt IN 1..25 LOOP
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE NOWAIT', name);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 25 THEN
                RAISE;
            END IF;
        END;
        PERFORM pg_sleep(0.02);
    END LOOP;
END $$;

-- Refuses what is no table of days.
CREATE FUNCTION ledger_key_of(parent text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE parent
        WHEN 'usage_events' THEN RETURN 'request_id';
        WHEN 'receipt_roots' THEN RETURN 'id';
    END CASE;
END $$;

-- Makes the partition of a UTC day of at most 8 days ahead, unless there is one, and moves there what
-- the default partition has of that day. Returns how many rows that were.
CREATE FUNCTION ledger_partition(parent text, day date) RETURNS bigint LANGUAGE plpgsql
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

-- Adds what rows of usage say, those before an id, to the opening sums: they are about to go. What a
-- seal counted of them is no part of it any more.
CREATE FUNCTION ledger_open_sums(gone text, before uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    sealed bigint := coalesce((SELECT amount FROM audit_sums
        WHERE part = 'sealed' AND kind = 'position' AND id = 'usage_events'), 0);
BEGIN
    EXECUTE format($sql$
        WITH gone AS MATERIALIZED (
            SELECT *, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
                position IS NULL OR position <= $2 AS is_sealed
            FROM %I WHERE request_id < $1
        ), sums AS MATERIALIZED (
            SELECT kind, id, sum(amount)::bigint AS amount,
                coalesce(sum(amount) FILTER (WHERE is_sealed), 0)::bigint AS sealed
            FROM (
                SELECT 'lease' AS kind, lease_id::text AS id, charged_nanos AS amount, is_sealed
                FROM gone
                UNION ALL SELECT 'lease', budget_lease_id::text, charged_nanos, is_sealed FROM gone
                UNION ALL SELECT 'budget', budget_id::text, charged_nanos, is_sealed FROM gone
                UNION ALL SELECT 'requests', day, 1, false FROM gone
                UNION ALL SELECT 'inputs', day, inputs, false FROM gone
                UNION ALL SELECT 'tokens', day, tokens, false FROM gone
                UNION ALL SELECT 'charged', day, charged_nanos, false FROM gone
            ) AS parts WHERE id IS NOT NULL GROUP BY kind, id
        ), opened AS (
            INSERT INTO audit_sums (part, kind, id, amount)
            SELECT 'opening', kind, id, amount FROM sums
            WHERE kind <> 'lease' OR id IN (SELECT leases.id::text FROM leases)
            ON CONFLICT (part, kind, id) DO UPDATE
            SET amount = audit_sums.amount + excluded.amount
        )
        UPDATE audit_sums AS s SET amount = s.amount - sums.sealed FROM sums
        WHERE s.part = 'sealed' AND s.kind = sums.kind AND s.id = sums.id AND sums.sealed <> 0
    $sql$, gone) USING before, sealed;
END $$;

-- Drops the oldest partition of the days before one at least 31 days ago, or else what the default
-- partition has of those days. Returns the name of what it dropped, null when nothing is left to drop
-- or the books are being audited.
CREATE FUNCTION ledger_retire(parent text, before date) RETURNS text LANGUAGE plpgsql
SET lock_timeout = '200ms' AS $$
DECLARE
    key text := ledger_key_of(parent);
    rest text := parent || '_rest';
    first uuid := ledger_first_id(before::timestamp AT TIME ZONE 'UTC');
    oldest text := (
        SELECT min(relname) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = parent::regclass AND relname ~ '_[0-9]{8}$'
            AND relname < parent || to_char(before, '_YYYYMMDD'));
    found boolean;
BEGIN
    IF before > (now() AT TIME ZONE 'UTC')::date - 31 THEN
        RAISE EXCEPTION 'usage of the last 31 days stays: %', before;
    END IF;
    -- the second is the audit's
    IF NOT pg_try_advisory_xact_lock(5759259) OR NOT pg_try_advisory_xact_lock(5759262) THEN
        RETURN NULL;
    END IF;
    IF oldest IS NOT NULL THEN
        IF parent = 'usage_events' THEN
            EXECUTE format('LOCK TABLE %I IN SHARE MODE', oldest);  -- nothing comes any more
            PERFORM ledger_open_sums(oldest, first);
        END IF;
        PERFORM ledger_lock_alone(parent);
        EXECUTE format('DROP TABLE %I', oldest);
        RETURN oldest;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE %I < $1)', rest, key) INTO found USING first;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    PERFORM ledger_lock_alone(rest);
    IF parent = 'usage_events' THEN
        PERFORM ledger_open_sums(rest, first);
    END IF;
    EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', rest);
    EXECUTE format('DELETE FROM %I WHERE %I < $1', rest, key) USING first;
    EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER', rest);
    RETURN rest;
END $$;

-- Sums up the newest pages of usage, so that who looks for rows since a position reads few others.
CREATE FUNCTION ledger_summarize() RETURNS void LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM brin_summarize_new_values(inhrelid) FROM pg_inherits
    WHERE inhparent = to_regclass('ix_usage_events_position');
EXCEPTION WHEN lock_not_available THEN
    RETURN;  -- a vacuum does it
END $$;
