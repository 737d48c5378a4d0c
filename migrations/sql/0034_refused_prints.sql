-- A print of a request that was refused goes with it, and each print knows which request was free for
-- it first. What prints are is told in 0027_paid_prints.sql, the fence in 0001_lease_fencing.sql.

CREATE OR REPLACE FUNCTION ledger_prints(tick jsonb, at timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    found uuid[];
BEGIN
    IF tick->'claims' = 'true' OR jsonb_array_length(tick->'undelivered') > 0 THEN
        INSERT INTO paid_prints AS p (key_id, print, request_id, is_once, expires_at)
        SELECT DISTINCT ON (key_id, print) key_id, print, request_id, is_once,
            at + seconds * interval '1 second'
        FROM (
            SELECT key_id, print, request_id, false AS is_once, print_seconds AS seconds
            FROM jsonb_to_recordset(tick->'usage') AS u(
                key_id uuid, print text, request_id uuid, print_seconds float8)
            WHERE print_seconds IS NOT NULL
            UNION ALL SELECT key_id, print, request_id, true, seconds
            FROM jsonb_to_recordset(tick->'undelivered') AS x(
                key_id uuid, print text, request_id uuid, seconds float8)
        ) AS prints
        ORDER BY key_id, print, is_once, request_id
        ON CONFLICT (key_id, print) DO UPDATE
        SET request_id = excluded.request_id, is_once = excluded.is_once, used_by = NULL,
            expires_at = excluded.expires_at
        WHERE p.expires_at <= at OR (
            p.is_once AND p.used_by IS NOT NULL AND p.request_id <> excluded.request_id);
    END IF;
    IF NOT EXISTS (SELECT FROM paid_prints WHERE expires_at > at) THEN
        RETURN '{}';
    END IF;
    found := ARRAY(
        SELECT u.request_id
        FROM jsonb_to_recordset(tick->'usage') AS u(request_id uuid, key_id uuid, print text)
        JOIN paid_prints p USING (key_id, print)
        WHERE p.expires_at > at AND p.request_id <> u.request_id
            AND (NOT p.is_once OR p.used_by IS NULL OR p.used_by = u.request_id));
    IF cardinality(found) = 0 THEN
        RETURN '{}';
    END IF;
    found := ARRAY(  -- a tick that comes again: what was charged stays charged
        SELECT request_id FROM unnest(found) AS request_id WHERE NOT EXISTS (
            SELECT FROM usage_events e
            WHERE e.request_id = request_id.request_id AND e.charged_nanos > 0));
    UPDATE paid_prints p SET used_by = x.request_id
    FROM (
        SELECT DISTINCT ON (key_id, print) key_id, print, request_id
        FROM jsonb_to_recordset(tick->'usage') AS u(request_id uuid, key_id uuid, print text)
        WHERE request_id = ANY(found) ORDER BY key_id, print, request_id
    ) AS x
    WHERE p.key_id = x.key_id AND p.print = x.print AND p.used_by IS NULL
        AND p.request_id <> x.request_id;
    RETURN (
        SELECT coalesce(jsonb_object_agg(u.request_id, p.request_id), '{}')
        FROM jsonb_to_recordset(tick->'usage') AS u(request_id uuid, key_id uuid, print text)
        JOIN paid_prints p USING (key_id, print)
        WHERE u.request_id = ANY(found) AND p.expires_at > at AND p.request_id <> u.request_id
            AND (NOT p.is_once OR p.used_by = u.request_id));
END $$;

CREATE OR REPLACE FUNCTION ledger_fenced(u jsonb, answered boolean, row_shard int, at timestamptz)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    cost bigint := u->>'cost_nanos';
    payer uuid := (SELECT id FROM leases WHERE id = (u->>'lease_id')::uuid AND state = 'open');
    allower uuid := (
        SELECT id FROM leases WHERE id = (u->>'budget_lease_id')::uuid AND state = 'open');
    budget uuid := u->>'budget_id';
    organization uuid := u->>'organization_id';
    pays boolean := payer IS NOT NULL OR coalesce(
        (SELECT available_nanos >= cost FROM accounts WHERE id = organization), false);
    allows boolean := budget IS NULL OR allower IS NOT NULL OR coalesce(
        (SELECT available_nanos >= cost FROM accounts WHERE id = budget), false);
    is_paid boolean := (u->>'due_nanos')::bigint = 0 OR (pays AND allows);
    charged bigint := CASE WHEN pays AND allows THEN (u->>'due_nanos')::bigint ELSE 0 END;
    created timestamptz := to_timestamp((u->>'created_ms')::bigint / 1000.0);
BEGIN
    IF NOT is_paid AND NOT answered THEN
        DELETE FROM paid_prints
        WHERE key_id = (u->>'key_id')::uuid AND request_id = (u->>'request_id')::uuid;
        RETURN 'refused';
    END IF;
    INSERT INTO usage_events (request_id, organization_id, key_id, model_id, price_id, inputs,
        tokens, cost_nanos, charged_nanos, lease_id, budget_id, budget_lease_id, created_at)
    VALUES ((u->>'request_id')::uuid, organization, (u->>'key_id')::uuid, u->>'model_id',
        (u->>'price_id')::uuid, (u->>'inputs')::int, (u->>'tokens')::int, cost, charged,
        payer, budget, allower, created)
    ON CONFLICT (request_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'known';
    END IF;
    IF charged > 0 THEN
        UPDATE leases SET spent_nanos = spent_nanos + charged WHERE id IN (payer, allower);
        IF payer IS NULL THEN
            PERFORM ledger_debit(organization, charged, u->>'request_id', at);
        END IF;
        IF budget IS NOT NULL AND allower IS NULL THEN
            PERFORM ledger_debit(budget, charged, u->>'request_id', at);
        END IF;
    END IF;
    INSERT INTO usage_hours AS h (organization_id, hour, key_id, model_id, shard, requests, inputs,
        tokens, charged_nanos)
    VALUES (organization, date_trunc('hour', created, 'UTC'), (u->>'key_id')::uuid, u->>'model_id',
        row_shard, 1, (u->>'inputs')::int, (u->>'tokens')::int, charged)
    ON CONFLICT (organization_id, hour, key_id, model_id, shard) DO UPDATE
    SET requests = h.requests + 1, inputs = h.inputs + excluded.inputs,
        tokens = h.tokens + excluded.tokens,
        charged_nanos = h.charged_nanos + excluded.charged_nanos;
    RETURN CASE WHEN is_paid THEN 'charged' ELSE 'written_off' END;
END $$;
