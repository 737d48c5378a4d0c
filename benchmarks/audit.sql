-- Fills a ledger with entries of usage, ENTRIES in all: leases of 1,000 postings of 800 nano-dollars
-- each, and a request for ten of them. It runs in steps, each in a transaction of its own.

-- step: names
CREATE FUNCTION named(kind text, i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CAST(md5(kind || i) AS uuid)
$$;
CREATE FUNCTION timed(i bigint, leases bigint, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CAST(overlay(overlay(md5('usage' || i || '-' || n) PLACING lpad(to_hex(
        (extract(epoch FROM date_trunc('day', TIMESTAMPTZ 'NOW')) - 86400 * (1 + (DAYS * i) / leases))
        ::bigint * 1000 + n * 3000), 12, '0') FROM 1 FOR 12) PLACING '7' FROM 13 FOR 1) AS uuid)
$$;

-- step: partitions
SELECT ledger_partition('usage_events', (now() AT TIME ZONE 'UTC')::date - d)
FROM generate_series(0, DAYS + 1) AS d;

-- step: owners
INSERT INTO models (id, state, card, created_at) VALUES ('model', 'live', '{}', now());
INSERT INTO model_prices (id, model_id, nanos_per_million_tokens, created_at)
VALUES (named('price', 1), 'model', 8000000, now());
INSERT INTO organizations (id, name, created_at)
SELECT named('owner', i), 'Owner ' || i, now() FROM generate_series(1, OWNERS) AS i;
INSERT INTO api_keys (id, organization_id, name, digest, last_four, created_at, changed_at)
SELECT named('key', i), named('owner', i), 'key', CAST('key' || i AS bytea), '0000', now(), now()
FROM generate_series(1, OWNERS) AS i;
INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, owed_nanos, spent_nanos)
SELECT named('owner', i), named('owner', i), 1000000000000, 0, 0, 0
FROM generate_series(1, OWNERS) AS i;
INSERT INTO credit_lots (id, organization_id, kind, amount_nanos, remaining_nanos, burned_nanos,
    source_ref, created_at)
SELECT named('lot', i), named('owner', i), 'paid', 1000000000000, 1000000000000, 0, 'lot:' || i, now()
FROM generate_series(1, OWNERS) AS i;
INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart, created_at)
SELECT named('owner', i), 'grant', CAST(named('lot', i) AS text), 1000000000000, 'manual_adjustments',
    now() FROM generate_series(1, OWNERS) AS i;

-- step: leases
INSERT INTO leases (id, account_id, replica_id, granted_nanos, spent_nanos, posted_nanos, postings,
    state, tick, opened_at, returned_at, expires_at)
SELECT named('lease', i), named('owner', 1 + i % OWNERS), named('replica', 1), 800000, 800000, 800000,
    1000, 'closed', 1, now() - make_interval(days => 1 + (DAYS * i / LEASES)::int), now(), now()
FROM generate_series(FIRST, LEASES - 1) AS i;
UPDATE accounts SET available_nanos = available_nanos - by.nanos, spent_nanos = spent_nanos + by.nanos
FROM (SELECT named('owner', 1 + i % OWNERS) AS id, count(*) * 800000 AS nanos
    FROM generate_series(FIRST, LEASES - 1) AS i GROUP BY 1) AS by WHERE by.id = accounts.id;
UPDATE credit_lots SET remaining_nanos = available_nanos, burned_nanos = spent_nanos
FROM accounts WHERE accounts.id = credit_lots.organization_id;

-- step: entries
SET LOCAL session_replication_role = replica;  -- without a look at the account of each
INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart, created_at)
SELECT owner, 'usage', lease || ':' || n, -800, 'revenue', now()
FROM (SELECT named('owner', 1 + i % OWNERS) AS owner, CAST(named('lease', i) AS text) AS lease
    FROM generate_series(FIRST, LEASES - 1) AS i OFFSET 0) AS made, generate_series(1, 1000) AS n;

-- step: usage
INSERT INTO usage_events (request_id, organization_id, key_id, model_id, price_id, inputs, tokens,
    cost_nanos, charged_nanos, lease_id, created_at)
SELECT id, named('owner', 1 + i % OWNERS), named('key', 1 + i % OWNERS), 'model', named('price', 1), 1,
    1000, 8000, 8000, named('lease', i),
    to_timestamp(CAST(CAST('x' || left(replace(CAST(id AS text), '-', ''), 12) AS bit(48)) AS bigint)
        / 1000)
FROM generate_series(FIRST, LEASES - 1) AS i, generate_series(1, 100) AS n,
    LATERAL (SELECT timed(i, LEASES, n) AS id) AS made;

-- step: hours
INSERT INTO usage_hours AS h (organization_id, hour, key_id, model_id, shard, requests, inputs, tokens,
    charged_nanos)
SELECT organization_id, date_trunc('hour', created_at, 'UTC'), key_id, model_id, 1, count(*),
    sum(inputs), sum(tokens), sum(charged_nanos)
FROM usage_events WHERE position > POSITION
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3
ON CONFLICT (organization_id, hour, key_id, model_id, shard) DO UPDATE
SET requests = h.requests + excluded.requests, inputs = h.inputs + excluded.inputs,
    tokens = h.tokens + excluded.tokens, charged_nanos = h.charged_nanos + excluded.charged_nanos;

-- step: statistics
ANALYZE
