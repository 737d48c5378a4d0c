-- The ledger's hot path since accounts are frozen by causes: what a frozen account's leases don't use
-- comes back at the next heartbeat of their processes, and pays what the account owes first.
--
-- These functions replace those of 0001_lease_fencing.sql, where the fence and the order of locks are
-- explained. gateway/storage/ledger/{freezes,postings,sqlite}.py do the same for SQLite.

-- Returns the cause for which an account leases nothing, or null. Of several, the one that no payment
-- lifts is told.
CREATE FUNCTION ledger_frozen(account accounts) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(
        (SELECT cause FROM freezes WHERE account_id = account.id
         ORDER BY array_position(ARRAY['books', 'operator', 'dispute'], cause) LIMIT 1),
        CASE WHEN account.owed_nanos > 0 THEN 'owing' END);
END $$;

-- Returns leased credit to its account, which pays what it owes first. That burns lots in the order in
-- which they give back payments: paid ones first, the newest first. The balance is the same before and
-- after, so there is no entry.
CREATE FUNCTION ledger_return(account uuid, back bigint) RETURNS void LANGUAGE plpgsql AS $$
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
        UPDATE credit_lots SET remaining_nanos = remaining_nanos - part WHERE id = lot.id;
        paid := paid - part;
        EXIT WHEN paid = 0;
    END LOOP;
    IF paid > 0 THEN
        RAISE EXCEPTION 'account % held % more than its lots', account, paid;
    END IF;
END $$;

-- Lowers a lease to `keep` at most and returns the rest to its account. The caller has locked and
-- posted the lease.
CREATE OR REPLACE FUNCTION ledger_keep(lease_id uuid, keep bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    lease leases;
    back bigint;
BEGIN
    SELECT * INTO lease FROM leases WHERE id = lease_id;
    back := lease.granted_nanos - greatest(keep, lease.spent_nanos);
    IF back > 0 THEN
        UPDATE leases SET granted_nanos = granted_nanos - back WHERE id = lease_id;
        PERFORM ledger_return(lease.account_id, back);
    END IF;
END $$;

-- Applies one lease line: keep, close or ask. Returns a LeaseAnswer, or null for a line that
-- arrives after a later one. The messages are in gateway/data_plane/metering/messages.py.
CREATE OR REPLACE FUNCTION ledger_lease(
    line jsonb, replica uuid, number bigint, expiry timestamptz, at timestamptz
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    lease leases;
    account accounts;
    held_id uuid := line->>'id';
    waited float8 := line->>'waited_seconds';
    short bigint;
    grant_nanos bigint := 0;
    held bigint := 0;
    unreached bigint := 0;
    denied boolean := false;
    recalled boolean;
    cause text;
BEGIN
    SELECT * INTO lease FROM leases WHERE id = held_id;
    IF lease.tick >= number THEN
        RETURN NULL;
    END IF;
    IF lease.state = 'open' THEN
        PERFORM ledger_post(held_id, at);
        UPDATE leases SET tick = number, expires_at = expiry WHERE id = held_id;
        IF line->>'action' = 'keep' THEN
            PERFORM ledger_keep(held_id, (line->>'keep_nanos')::bigint);
            UPDATE leases SET returned_at = at WHERE id = held_id;
        ELSIF line->>'action' = 'close' THEN
            PERFORM ledger_keep(held_id, 0);
            UPDATE leases SET state = 'closed' WHERE id = held_id;
        END IF;
        SELECT * INTO lease FROM leases WHERE id = held_id;
    END IF;
    SELECT * INTO account FROM accounts WHERE id = (line->>'account_id')::uuid;
    cause := ledger_frozen(account);
    IF line->>'action' = 'ask' AND lease.state IS DISTINCT FROM 'closed' THEN
        short := (line->>'least_nanos')::bigint - coalesce(lease.granted_nanos, 0);
        IF cause = 'owing' AND short > 0 AND lease.id IS NOT NULL THEN
            -- what this process returns may pay the debt, so that nothing is denied
            PERFORM ledger_keep(held_id, (line->>'keep_nanos')::bigint);
            UPDATE leases SET returned_at = at WHERE id = held_id RETURNING * INTO lease;
            SELECT * INTO account FROM accounts WHERE id = account.id;
            cause := ledger_frozen(account);
            short := (line->>'least_nanos')::bigint - lease.granted_nanos;
        END IF;
        denied := short > 0 AND
            (account.id IS NULL OR cause IS NOT NULL OR account.available_nanos < short);
        recalled := account.recalled_at > at - interval '1 second';
        IF denied THEN
            IF lease.id IS NOT NULL THEN
                PERFORM ledger_keep(held_id, (line->>'keep_nanos')::bigint);
                UPDATE leases SET returned_at = at WHERE id = held_id;
            END IF;
            SELECT coalesce(sum(l.granted_nanos - l.spent_nanos), 0),
                   coalesce(sum(l.granted_nanos - l.spent_nanos) FILTER (
                       WHERE waited = 0 OR l.returned_at < at - waited * interval '1 second'), 0)
            INTO held, unreached FROM leases l
            WHERE l.account_id = account.id AND l.state = 'open' AND l.replica_id <> replica;
            unreached := greatest(unreached - coalesce(account.owed_nanos, 0), 0);
            IF cause IS NULL AND recalled IS NOT TRUE AND held > 0
                AND account.available_nanos + held >= short THEN
                UPDATE accounts SET recalled_at = at WHERE id = account.id;
            END IF;
        ELSIF account.id IS NOT NULL AND cause IS NULL THEN
            grant_nanos := greatest(0, least(account.available_nanos, greatest(short, CASE
                WHEN recalled THEN 0
                ELSE least((line->>'target_nanos')::bigint - coalesce(lease.granted_nanos, 0),
                           account.available_nanos / 4)
            END)));
        END IF;
        IF grant_nanos > 0 THEN
            UPDATE accounts SET available_nanos = available_nanos - grant_nanos,
                                leased_nanos = leased_nanos + grant_nanos WHERE id = account.id;
            INSERT INTO leases (id, account_id, replica_id, granted_nanos, spent_nanos,
                posted_nanos, postings, state, tick, opened_at, returned_at, expires_at)
            VALUES (held_id, account.id, replica, grant_nanos, 0, 0, 0, 'open', number, at, at,
                    expiry)
            ON CONFLICT (id) DO UPDATE
            SET granted_nanos = leases.granted_nanos + excluded.granted_nanos;
        END IF;
        SELECT * INTO lease FROM leases WHERE id = held_id;
        SELECT * INTO account FROM accounts WHERE id = account.id;
    END IF;
    cause := ledger_frozen(account);
    RETURN jsonb_build_object(
        'id', held_id, 'state', coalesce(lease.state, 'none'),
        'granted_nanos', coalesce(lease.granted_nanos, 0),
        'available_nanos', coalesce(account.available_nanos, 0),
        'denied', denied, 'cause', cause, 'unreached_nanos', unreached,
        'frozen', cause IS NOT NULL);  -- read by version 0.1 while it runs beside this one
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
    FROM lines WHERE NOT covered
        AND NOT EXISTS (SELECT FROM usage_events e WHERE e.request_id = lines.request_id);

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
