-- What testing/crowd.py fills in, a statement a step. ORGANIZATIONS, ENTRIES and LIVE are numbers.
-- Money adds up: accounts, lots and ledger entries agree, so an audit of them finds nothing.

-- step: ids
CREATE FUNCTION crowd_id(kind text, i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT CAST('01a0' || substr(md5(kind), 1, 4) || '-0000-7000-8000-' || lpad(to_hex(i), 12, '0') AS uuid)
$$;

-- step: organizations
INSERT INTO organizations (id, name, created_at)
SELECT crowd_id('owner', i), 'Organization ' || i, now() - make_interval(secs => (CAST(i AS bigint) * 7919) %
    2592000)
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: users
INSERT INTO users (id, email, address_key, created_at, welcome)
SELECT crowd_id('user', i), 'person-' || i || '@domain-' || i % 50000 || '.example', 'person-'
    || i || '@domain-' || i % 50000 || '.example', now() - make_interval(secs => (CAST(i AS bigint) * 7919) %
    2592000), 'granted'
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: memberships
INSERT INTO memberships (user_id, organization_id, role, created_at)
SELECT crowd_id('user', i), crowd_id('owner', i), 'owner', now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000)
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: api_keys
INSERT INTO api_keys (id, organization_id, name, digest, last_four, created_at, changed_at,
    created_by)
SELECT crowd_id('key', i), crowd_id('owner', i), 'key', decode(lpad(to_hex(i), 64, '0'), 'hex'),
    lpad(to_hex(i % 65536), 4, '0'), now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), now()
    - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), crowd_id('user', i)
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: accounts
INSERT INTO accounts (id, organization_id, available_nanos, leased_nanos, owed_nanos,
    spent_nanos)
SELECT crowd_id('owner', i), crowd_id('owner', i), 25000000000 - (CAST(ENTRIES AS bigint) - 1) *
    100000000, 0, 0, (CAST(ENTRIES AS bigint) - 1) * 100000000
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: credit_lots
INSERT INTO credit_lots (id, organization_id, kind, amount_nanos, remaining_nanos, burned_nanos,
    source_ref, created_at, expires_at)
SELECT crowd_id('lot', i), crowd_id('owner', i), CASE i % 5 WHEN 0 THEN 'paid' ELSE 'promo' END,
    25000000000, 25000000000 - (CAST(ENTRIES AS bigint) - 1) * 100000000, (CAST(ENTRIES AS bigint) -
    1) * 100000000, 'crowd:' || i, now() -
    make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), CASE i % 5 WHEN 0 THEN NULL ELSE now() +
    interval '60 days' END
FROM generate_series(1, ORGANIZATIONS) AS i;

-- step: ledger_entries
INSERT INTO ledger_entries (organization_id, kind, ref, amount_nanos, counterpart, created_at)
SELECT crowd_id('owner', i), CASE n WHEN 1 THEN 'grant' ELSE 'usage' END, CASE n WHEN 1
    THEN CAST(crowd_id('lot', i) AS text) ELSE i || ':' || n END, CASE n
    WHEN 1 THEN 25000000000 ELSE -100000000 END, CASE WHEN n > 1 THEN 'revenue' WHEN i % 5 = 0
    THEN 'manual_adjustments' ELSE 'promo_expense' END, now()
FROM generate_series(1, CAST(ENTRIES AS bigint)) AS n, generate_series(1, ORGANIZATIONS) AS i;

-- step: usage
INSERT INTO usage_hours (organization_id, hour, key_id, model_id, shard, requests, inputs,
    tokens, charged_nanos)
SELECT crowd_id('owner', i), date_trunc('hour', now()) - make_interval(hours => h),
    crowd_id('key', i), m.ids[1 + i % m.n], 0, 10, 20, 1000, 1000 * (1 + i % 97)
FROM (SELECT array_agg(id ORDER BY id) AS ids, count(*) AS n
FROM models) AS m, generate_series(335, 0, -1) AS h, generate_series(1 + h % 168, ORGANIZATIONS,
    168) AS i;

-- step: answers
INSERT INTO answer_hours (organization_id, hour, status_class, latency_ms, answers)
SELECT crowd_id('owner', i), date_trunc('hour', now()) - make_interval(hours => h), CASE i % 50
    WHEN 0 THEN 5 WHEN 1 THEN 4 ELSE 2 END, (ARRAY[10, 20, 50, 100])[1 + i % 4], 10
FROM generate_series(335, 0, -1) AS h, generate_series(1 + h % 168, ORGANIZATIONS, 168) AS i;

-- step: payments
INSERT INTO payments (id, organization_id, origin, state, credit_nanos, amount_cents, tax_cents,
    live, saves_card, session_id, session_url, intent_id, received_cents, refunded_cents,
    disputed_cents, posted_nanos, tax_posted_nanos, postings, version, failure_code,
    failure_reason, attention, seen, failures, invoice_number, invoice_url, receipt_url, tax_id,
    country, card_fingerprint, created_at, changed_at, paid_at)
SELECT crowd_id('payment', i), crowd_id('owner', i), 'checkout', 'paid', 10000000000, 1000, 0,
    false, false, 'cs_' || i, '', 'pi_' || i, 1000, 0, 0, 0, 0, 0, 1, '', '', '', '', 0, '', '',
    '', '', '', '', now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), now() -
    make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), now() - make_interval(secs => (CAST(i AS bigint) * 7919) %
    2592000)
FROM generate_series(1, ORGANIZATIONS, 50) AS i;

-- step: stripe_events
INSERT INTO stripe_events (id, type, object_id, intent_id, created_at, received_at, due_at,
    attempts, problem)
SELECT 'evt_' || i, 'charge.updated', 'ch_' || i, 'pi_' || i, now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), NULL, 1, CASE i % 500
    WHEN 1 THEN 'No such charge' ELSE '' END
FROM generate_series(1, ORGANIZATIONS, 10) AS i;

-- step: outbox
INSERT INTO outbox (id, ref, kind, recipient, subject, text, html, unsubscribe_url, state,
    attempts, created_at, due_at, give_up_at, reason)
SELECT crowd_id('mail', i), 'crowd:' || i, 'notice', 'person-' || i || '@domain-' || i % 50000
    || '.example', 'Low on credit', '', '', '', CASE i % 1000 WHEN 1 THEN 'failed' ELSE 'sent'
    END, 1, now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), now() - make_interval(secs =>
    (CAST(i AS bigint) * 7919) % 2592000), now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000), CASE i % 1000
    WHEN 1 THEN '550' ELSE '' END
FROM generate_series(1, ORGANIZATIONS, 5) AS i;

-- step: votes
INSERT INTO demand_votes (id, model_id, user_id, voter_key, volume_million_tokens,
    price_max_nanos, use_case, created_at)
SELECT crowd_id('vote', i), m.ids[1 + i % m.n], crowd_id('user', i), 'person-' || i, 1 + i %
    1000, 20000000, '', now() - make_interval(secs => (CAST(i AS bigint) * 7919) % 2592000)
FROM (SELECT array_agg(id ORDER BY id) AS ids, count(*) AS n
FROM models) AS m, generate_series(1, ORGANIZATIONS, 20) AS i;

-- step: waitlist
INSERT INTO waitlist_entries (id, model_id, email, address_key, user_id, confirmed_at)
SELECT crowd_id('entry', i), m.ids[1 + i % m.n], 'person-' || i || '@domain-' || i % 50000 ||
    '.example', 'person-' || i, crowd_id('user', i), now() - make_interval(secs => (CAST(i AS bigint) * 7919) %
    2592000)
FROM (SELECT array_agg(id ORDER BY id) AS ids, count(*) AS n
FROM models) AS m, generate_series(1, ORGANIZATIONS, 10) AS i;

-- step: workers
INSERT INTO worker_reports (gateway_id, model_id, url, view, seen_at)
SELECT crowd_id('gateway', g), m.id, 'http://10.0.0.' || w || ':8080', replace('VIEW',
    '10.0.0.1', '10.0.0.' || w), now() + interval '1 day'
FROM (SELECT id
FROM models ORDER BY id LIMIT LIVE) AS m, generate_series(1, 2) AS g, generate_series(1, 3) AS w;

-- step: request_log
INSERT INTO request_log (organization_id, request_id, key_id, model_id, created_at, status, code, latency_ms, tokens,
    original_id, missed)
SELECT crowd_id('owner', i), crowd_id('request', i * 10000 + n), crowd_id('key', i), '', now(), CASE n % 2 WHEN 0 THEN 200 ELSE 404
    END, CASE n % 2 WHEN 0 THEN '' ELSE 'model_not_found' END, 30, NULL, NULL, 0
FROM generate_series(1, 1000) AS n, generate_series(1, 100) AS i;

-- step: incidents
INSERT INTO incidents (id, model_id, started_at, ended_at)
SELECT crowd_id('incident', h), m.id, now() - make_interval(hours => CAST(h AS integer)), CASE h WHEN 0 THEN NULL
    ELSE now() - make_interval(hours => CAST(h AS integer)) + interval '9 minutes' END
FROM (SELECT id
FROM models ORDER BY id LIMIT 1) AS m, generate_series(0, 1000) AS h;

-- step: incident_updates
INSERT INTO incident_updates (id, incident_id, posted_at, title, words)
SELECT crowd_id('update', n), crowd_id('incident', 7), now(), 'A full disk', 'It is replaced.'
FROM generate_series(1, 50) AS n;

-- step: statistics
ANALYZE;
