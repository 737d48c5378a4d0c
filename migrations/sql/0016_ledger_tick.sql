-- ledger_tick, which looks for the rows of usage that no open lease covers only if there are any: that
-- opens every partition of usage_events, one a day, however long they are kept.
--
-- The functions that it calls, and the order of locks: 0001_lease_fencing.sql and 0002_freezes.sql.

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
BEGIN
    open_leases := ARRAY(
        SELECT id FROM leases WHERE id = ANY(touched) AND state = 'open'
        ORDER BY id FOR NO KEY UPDATE);

    WITH lines AS MATERIALIZED (
        SELECT u.*, to_timestamp(u.created_ms / 1000.0) AS created,
            l IS NOT NULL AND (u.budget_id IS NULL OR b IS NOT NULL) AS covered
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
            cost_nanos, lease_id, budget_id, budget_lease_id, created
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
        'recalled', recalled);
END $$;
