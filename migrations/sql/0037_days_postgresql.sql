-- answer_days and error_days follow the hours. Once a row: what counts answers writes row by row.
CREATE FUNCTION sum_answer_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO answer_days AS d (organization_id, day, status_class, latency_ms, answers)
    VALUES (NEW.organization_id, timezone('UTC', NEW.hour)::date, NEW.status_class, NEW.latency_ms,
        NEW.answers - coalesce(OLD.answers, 0))
    ON CONFLICT (organization_id, day, status_class, latency_ms) DO UPDATE
    SET answers = d.answers + excluded.answers;
    RETURN NULL;
END $$;

CREATE FUNCTION sum_error_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO error_days AS d (organization_id, day, key_id, model_id, status, code, errors)
    VALUES (NEW.organization_id, timezone('UTC', NEW.hour)::date, NEW.key_id, NEW.model_id,
        NEW.status, NEW.code, NEW.errors - coalesce(OLD.errors, 0))
    ON CONFLICT (organization_id, day, key_id, model_id, status, code) DO UPDATE
    SET errors = d.errors + excluded.errors;
    RETURN NULL;
END $$;

-- The order in which what counts answers locks the tables.
CREATE TRIGGER answer_hours_by_the_day AFTER INSERT OR UPDATE ON answer_hours
FOR EACH ROW EXECUTE FUNCTION sum_answer_days();

CREATE TRIGGER error_hours_by_the_day AFTER INSERT OR UPDATE ON error_hours
FOR EACH ROW EXECUTE FUNCTION sum_error_days();
