-- Requests that are free because an equal one was charged: gateway/storage/ledger/prints.py says which,
-- and does the same for SQLite. Functions that ledger_tick calls are in 0001_lease_fencing.sql and
-- 0002_freezes.sql, where the fence and the order of locks are explained.

-- Keeps the prints of a tick, and returns which of its requests are free: an object of their ids, each
-- with that of the request that was charged. Reads next to nothing where no print is kept.
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
        WHERE p.expires_at <= at OR (p.used_by IS NOT NULL AND p.request_id <> excluded.request_id);
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
    WHERE p.key_id = x.key_id AND p.print = x.print AND p.is_once AND p.used_by IS NULL
        AND p.request_id <> x.request_id;
    RETURN (
        SELECT coalesce(jsonb_object_agg(u.request_id, p.request_id), '{}')
        FROM jsonb_to_recordset(tick->'usage') AS u(request_id uuid, key_id uuid, print text)
        JOIN paid_prints p USING (key_id, print)
        WHERE u.request_id = ANY(found) AND p.expires_at > at AND p.request_id <> u.request_id
            AND (NOT p.is_once OR p.used_by = u.request_id));
END $$;

-- The fence: usage whose lease, or whose budget's lease, is no longer open. The accounts pay
-- directly if they can; if not, an answered request is written off and any other is refused. One that
-- is free (`due_nanos` is 0) is charged to nobody.
-- Returns 'charged', 'written_off', 'refused', or 'known' for a request that has a row already.
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

-- Applies a Tick of a process: what it used, what it returns and what it asks for. Returns a
-- TickAnswer.
CREATE OR REPLACE FUNCTION ledger_tick(tick jsonb, at timestamptz)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    replica uuid := tick->>'replica_id';
    expiry timestamptz := at + (tick->>'lease_seconds')::float8 * interval '1 second';
    row_shard int := tick->>'shard';
    touched uuid[] := ARRAY(SELECT jsonb_array_elements_text(tick->'lease_ids')::uuid);
    answered text[] := ARRAY(SELECT jsonb_array_elements_text(tick->'answered'));
    open_leases uuid[];
    recalled jsonb := '[]';
    wanted uuid[];
    frozen uuid[];
    strays jsonb[] := '{}';
    stray jsonb;
    outcome text;
    refused text[] := '{}';
    written_off text[] := '{}';
    answers jsonb := '[]';
    free jsonb;
BEGIN
    open_leases := ARRAY(
        SELECT id FROM leases WHERE id = ANY(touched) AND state = 'open'
        ORDER BY id FOR NO KEY UPDATE);
    free := ledger_prints(tick, at);

    WITH lines AS MATERIALIZED (
        SELECT u.*, to_timestamp(u.created_ms / 1000.0) AS created,
            l IS NOT NULL AND (u.budget_id IS NULL OR b IS NOT NULL) AS covered,
            CASE WHEN free ? u.request_id::text THEN 0 ELSE u.cost_nanos END AS due_nanos
        FROM jsonb_to_recordset(tick->'usage') AS u(
            request_id uuid, organization_id uuid, key_id uuid, model_id text, price_id uuid,
            inputs int, tokens int, cost_nanos bigint, lease_id uuid, budget_id uuid,
            budget_lease_id uuid, created_ms bigint)
        LEFT JOIN unnest(open_leases) AS l ON l = u.lease_id
        LEFT JOIN unnest(open_leases) AS b ON b = u.budget_lease_id
    ), added AS (
        INSERT INTO usage_events (request_id, organization_id, key_id, model_id, price_id, inputs,
            tokens, cost_nanos, charged_nanos, lease_id, budget_id, budget_lease_id, created_at)
        SELECT request_id, organization_id, key_id, model_id, price_id, inputs, tokens, cost_nanos,
            due_nanos, lease_id, budget_id, budget_lease_id, created
        FROM lines WHERE covered ORDER BY request_id
        ON CONFLICT (request_id) DO NOTHING
        RETURNING organization_id, key_id, model_id, inputs, tokens, charged_nanos, lease_id,
            budget_lease_id, date_trunc('hour', created_at, 'UTC') AS hour
    ), spent AS (
        SELECT lease, sum(nanos)::bigint AS nanos FROM (
            SELECT lease_id AS lease, charged_nanos AS nanos FROM added
            UNION ALL SELECT budget_lease_id, charged_nanos FROM added
            WHERE budget_lease_id IS NOT NULL
        ) AS parts GROUP BY lease
    ), renewed AS (  -- usage that a dead process left in its journal renews nothing
        UPDATE leases SET spent_nanos = spent_nanos + x.nanos,
            expires_at = CASE WHEN replica_id = replica THEN expiry ELSE expires_at END
        FROM (SELECT t.id, coalesce(s.nanos, 0) AS nanos
              FROM unnest(open_leases) AS t(id) LEFT JOIN spent s ON s.lease = t.id) AS x
        WHERE leases.id = x.id
    ), summed AS (
        INSERT INTO usage_hours AS h (organization_id, hour, key_id, model_id, shard, requests,
            inputs, tokens, charged_nanos)
        SELECT organization_id, hour, key_id, model_id, row_shard, count(*), sum(inputs),
            sum(tokens), sum(charged_nanos)
        FROM added GROUP BY organization_id, hour, key_id, model_id
        ORDER BY organization_id, hour, key_id, model_id
        ON CONFLICT (organization_id, hour, key_id, model_id, shard) DO UPDATE
        SET requests = h.requests + excluded.requests, inputs = h.inputs + excluded.inputs,
            tokens = h.tokens + excluded.tokens,
            charged_nanos = h.charged_nanos + excluded.charged_nanos
    )
    SELECT coalesce(array_agg(to_jsonb(lines) ORDER BY request_id), '{}') INTO strays
    FROM lines WHERE NOT covered;
    IF cardinality(strays) > 0 THEN
        strays := ARRAY(
            SELECT s FROM unnest(strays) WITH ORDINALITY AS lines(s, n)
            WHERE NOT EXISTS (
                SELECT FROM usage_events WHERE request_id = (s->>'request_id')::uuid)
            ORDER BY n);
    END IF;

    IF jsonb_array_length(tick->'leases') > 0 OR cardinality(strays) > 0 THEN
        INSERT INTO accounts (id, organization_id, key_id, period, limit_nanos, available_nanos,
            leased_nanos, owed_nanos, spent_nanos)
        SELECT x.account_id, k.organization_id, b.key_id, x.period, b.limit_nanos, b.limit_nanos,
            0, 0, 0
        FROM jsonb_to_recordset(tick->'leases') AS x(
            account_id uuid, key_id uuid, period text, action text)
        JOIN key_budgets b ON b.key_id = x.key_id JOIN api_keys k ON k.id = b.key_id
        WHERE x.action = 'ask' AND NOT EXISTS (SELECT FROM accounts a WHERE a.id = x.account_id)
        ORDER BY x.account_id ON CONFLICT DO NOTHING;

        PERFORM 1 FROM accounts WHERE id IN (
            SELECT (value->>'account_id')::uuid FROM jsonb_array_elements(tick->'leases')
            UNION ALL SELECT (s->>'organization_id')::uuid FROM unnest(strays) AS s
            UNION ALL SELECT (s->>'budget_id')::uuid FROM unnest(strays) AS s
        ) ORDER BY id FOR NO KEY UPDATE;

        FOREACH stray IN ARRAY strays LOOP
            outcome := ledger_fenced(stray, stray->>'request_id' = ANY(answered), row_shard, at);
            IF outcome = 'refused' THEN
                refused := refused || (stray->>'request_id');
            ELSIF outcome = 'written_off' THEN
                written_off := written_off || (stray->>'request_id');
            END IF;
        END LOOP;

        SELECT coalesce(jsonb_agg(answer) FILTER (WHERE answer IS NOT NULL), '[]') INTO answers
        FROM (
            SELECT ledger_lease(value, replica, (tick->>'number')::bigint, expiry, at) AS answer
            FROM (SELECT value FROM jsonb_array_elements(tick->'leases')
                  ORDER BY value->>'account_id', value->>'action' DESC) AS ordered
        ) AS answered_lines;
    END IF;

    -- Told again in every answer while it is so: a process may miss one. What a frozen account's
    -- leases hold is not for use, so it is returned even if nobody waits for it.
    wanted := ARRAY(SELECT id FROM accounts WHERE recalled_at > at - interval '1 second');
    frozen := ARRAY(
        SELECT id FROM accounts WHERE owed_nanos > 0 AND leased_nanos > 0
        UNION ALL SELECT account_id FROM freezes);
    IF cardinality(wanted) + cardinality(frozen) > 0 THEN
        SELECT coalesce(jsonb_agg(DISTINCT account_id), '[]') INTO recalled FROM leases
        WHERE account_id = ANY(wanted || frozen) AND state = 'open' AND replica_id = replica
            AND (account_id = ANY(wanted) OR granted_nanos > spent_nanos);
    END IF;
    RETURN jsonb_build_object(
        'refused', to_jsonb(refused), 'written_off', to_jsonb(written_off), 'leases', answers,
        'closed', coalesce((SELECT jsonb_agg(id) FROM leases
            WHERE id = ANY(touched) AND state = 'closed'), '[]'),
        'recalled', recalled, 'free', free);
END $$;
