-- Triggers on SQLite: append-only history, sums of usage by the day, versions of the catalog.

-- History can't be changed. SQLite has no partitions to drop, so usage older than 31 days may be
-- deleted.
CREATE TRIGGER ledger_entries_no_update BEFORE UPDATE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END;

CREATE TRIGGER ledger_entries_no_delete BEFORE DELETE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END;

CREATE TRIGGER usage_events_no_update BEFORE UPDATE ON usage_events
BEGIN SELECT RAISE(ABORT, 'usage_events is append-only'); END;

CREATE TRIGGER usage_events_no_delete BEFORE DELETE ON usage_events
WHEN OLD.created_at > strftime('%Y-%m-%dT%H:%M:%S', 'now', '-31 days')
BEGIN SELECT RAISE(ABORT, 'usage_events is append-only'); END;

-- usage_days follows usage_hours.
CREATE TRIGGER usage_hours_insert_by_the_day AFTER INSERT ON usage_hours
BEGIN
    INSERT INTO usage_days
        (organization_id, day, key_id, model_id, shard, requests, inputs, tokens, charged_nanos)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.key_id, NEW.model_id, NEW.shard,
        NEW.requests, NEW.inputs, NEW.tokens, NEW.charged_nanos)
    ON CONFLICT (organization_id, day, key_id, model_id, shard) DO UPDATE
    SET requests = requests + excluded.requests, inputs = inputs + excluded.inputs,
        tokens = tokens + excluded.tokens, charged_nanos = charged_nanos + excluded.charged_nanos;
END;

CREATE TRIGGER usage_hours_update_by_the_day AFTER UPDATE ON usage_hours
BEGIN
    INSERT INTO usage_days
        (organization_id, day, key_id, model_id, shard, requests, inputs, tokens, charged_nanos)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.key_id, NEW.model_id, NEW.shard,
        NEW.requests - OLD.requests, NEW.inputs - OLD.inputs, NEW.tokens - OLD.tokens,
        NEW.charged_nanos - OLD.charged_nanos)
    ON CONFLICT (organization_id, day, key_id, model_id, shard) DO UPDATE
    SET requests = requests + excluded.requests, inputs = inputs + excluded.inputs,
        tokens = tokens + excluded.tokens, charged_nanos = charged_nanos + excluded.charged_nanos;
END;

-- Every change of a model, its prices or its golden vectors gets the next number.
CREATE TRIGGER models_insert_version AFTER INSERT ON models
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.id;
END;

CREATE TRIGGER models_update_version AFTER UPDATE OF id, state, card, created_at ON models
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.id;
END;

CREATE TRIGGER model_prices_insert_version AFTER INSERT ON model_prices
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.model_id;
END;

CREATE TRIGGER model_prices_update_version AFTER UPDATE ON model_prices
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.model_id;
END;

CREATE TRIGGER model_prices_delete_version AFTER DELETE ON model_prices
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = OLD.model_id;
END;

CREATE TRIGGER golden_rows_insert_version AFTER INSERT ON golden_rows
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.model_id;
END;

CREATE TRIGGER golden_rows_update_version AFTER UPDATE ON golden_rows
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = NEW.model_id;
END;

CREATE TRIGGER golden_rows_delete_version AFTER DELETE ON golden_rows
BEGIN
    UPDATE catalog_versions SET version = version + 1;
    UPDATE models SET version = (SELECT version FROM catalog_versions) WHERE id = OLD.model_id;
END;
