-- Triggers on PostgreSQL: append-only history, sums of usage by the day, versions of the catalog;
-- and the partition for usage whose day has none.

CREATE TABLE usage_events_rest PARTITION OF usage_events DEFAULT;

-- History can't be changed. Old usage goes by dropping its partition.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER usage_events_append_only BEFORE UPDATE OR DELETE ON usage_events
FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- usage_days follows usage_hours. Once a statement, since a tick writes many hours; an upsert runs
-- both triggers.
CREATE FUNCTION sum_usage_days_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d
        (organization_id, day, key_id, model_id, shard, requests, inputs, tokens, charged_nanos)
    SELECT organization_id, timezone('UTC', hour)::date AS day, key_id, model_id, shard,
        sum(requests), sum(inputs), sum(tokens), sum(charged_nanos)
    FROM (
        SELECT organization_id, hour, key_id, model_id, shard, requests, inputs, tokens,
            charged_nanos FROM after
    ) AS changed
    GROUP BY organization_id, day, key_id, model_id, shard
    ORDER BY organization_id, day, key_id, model_id, shard
    ON CONFLICT (organization_id, day, key_id, model_id, shard) DO UPDATE
    SET requests = d.requests + excluded.requests, inputs = d.inputs + excluded.inputs,
        tokens = d.tokens + excluded.tokens,
        charged_nanos = d.charged_nanos + excluded.charged_nanos;
    RETURN NULL;
END $$;

CREATE FUNCTION sum_usage_days_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_days AS d
        (organization_id, day, key_id, model_id, shard, requests, inputs, tokens, charged_nanos)
    SELECT organization_id, timezone('UTC', hour)::date AS day, key_id, model_id, shard,
        sum(requests), sum(inputs), sum(tokens), sum(charged_nanos)
    FROM (
        SELECT organization_id, hour, key_id, model_id, shard, requests, inputs, tokens,
            charged_nanos FROM after
        UNION ALL SELECT organization_id, hour, key_id, model_id, shard, -requests, -inputs,
            -tokens, -charged_nanos FROM before
    ) AS changed
    GROUP BY organization_id, day, key_id, model_id, shard
    ORDER BY organization_id, day, key_id, model_id, shard
    ON CONFLICT (organization_id, day, key_id, model_id, shard) DO UPDATE
    SET requests = d.requests + excluded.requests, inputs = d.inputs + excluded.inputs,
        tokens = d.tokens + excluded.tokens,
        charged_nanos = d.charged_nanos + excluded.charged_nanos;
    RETURN NULL;
END $$;

CREATE TRIGGER usage_hours_insert_by_the_day AFTER INSERT ON usage_hours
REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION sum_usage_days_insert();

CREATE TRIGGER usage_hours_update_by_the_day AFTER UPDATE ON usage_hours
REFERENCING NEW TABLE AS after OLD TABLE AS before
FOR EACH STATEMENT EXECUTE FUNCTION sum_usage_days_update();

-- Every change of a model, its prices or its golden vectors gets the next number. The row of
-- catalog_versions stays locked until the commit, so numbers become visible in their order.
CREATE FUNCTION number_model() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE catalog_versions SET version = version + 1 RETURNING version INTO NEW.version;
    RETURN NEW;
END $$;

CREATE FUNCTION number_model_of() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE models SET version = version WHERE id = coalesce(NEW.model_id, OLD.model_id);
    RETURN NULL;
END $$;

CREATE TRIGGER models_version BEFORE INSERT OR UPDATE ON models
FOR EACH ROW EXECUTE FUNCTION number_model();

CREATE TRIGGER model_prices_version AFTER INSERT OR UPDATE OR DELETE ON model_prices
FOR EACH ROW EXECUTE FUNCTION number_model_of();

CREATE TRIGGER golden_rows_version AFTER INSERT OR UPDATE OR DELETE ON golden_rows
FOR EACH ROW EXECUTE FUNCTION number_model_of();
