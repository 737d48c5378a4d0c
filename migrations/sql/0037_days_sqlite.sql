-- answer_days and error_days follow the hours.
CREATE TRIGGER answer_hours_insert_by_the_day AFTER INSERT ON answer_hours
BEGIN
    INSERT INTO answer_days (organization_id, day, status_class, latency_ms, answers)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.status_class, NEW.latency_ms,
        NEW.answers)
    ON CONFLICT (organization_id, day, status_class, latency_ms) DO UPDATE
    SET answers = answers + excluded.answers;
END;

CREATE TRIGGER answer_hours_update_by_the_day AFTER UPDATE ON answer_hours
BEGIN
    INSERT INTO answer_days (organization_id, day, status_class, latency_ms, answers)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.status_class, NEW.latency_ms,
        NEW.answers - OLD.answers)
    ON CONFLICT (organization_id, day, status_class, latency_ms) DO UPDATE
    SET answers = answers + excluded.answers;
END;

CREATE TRIGGER error_hours_insert_by_the_day AFTER INSERT ON error_hours
BEGIN
    INSERT INTO error_days (organization_id, day, key_id, model_id, status, code, errors)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.key_id, NEW.model_id, NEW.status,
        NEW.code, NEW.errors)
    ON CONFLICT (organization_id, day, key_id, model_id, status, code) DO UPDATE
    SET errors = errors + excluded.errors;
END;

CREATE TRIGGER error_hours_update_by_the_day AFTER UPDATE ON error_hours
BEGIN
    INSERT INTO error_days (organization_id, day, key_id, model_id, status, code, errors)
    VALUES (NEW.organization_id, substr(NEW.hour, 1, 10), NEW.key_id, NEW.model_id, NEW.status,
        NEW.code, NEW.errors - OLD.errors)
    ON CONFLICT (organization_id, day, key_id, model_id, status, code) DO UPDATE
    SET errors = errors + excluded.errors;
END;
