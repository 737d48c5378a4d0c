-- The audit trail on PostgreSQL: entries are only ever added, each after the newest one, and words
-- can be emptied but neither changed nor removed. refuse_change is of 0001_triggers_postgresql.sql.

CREATE TRIGGER trail_entries_append_only BEFORE UPDATE OR DELETE ON trail_entries
FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER trail_entries_no_truncate BEFORE TRUNCATE ON trail_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Notes the newest entry beside the trail, so that an audit finds when the last ones are gone.
CREATE FUNCTION follow_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE trail_heads SET number = NEW.number, hash = NEW.hash WHERE number = NEW.number - 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'trail_entries: % does not follow the newest entry', NEW.number;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER trail_entries_follow AFTER INSERT ON trail_entries
FOR EACH ROW EXECUTE FUNCTION follow_trail();

CREATE FUNCTION keep_trail_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.digest <> OLD.digest OR NEW.user_id IS DISTINCT FROM coalesce(OLD.user_id, NEW.user_id)
        OR NEW.words <> '' OR octet_length(NEW.salt) <> 0 THEN
        RAISE EXCEPTION 'trail_words can only be emptied';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER trail_words_only_emptied BEFORE UPDATE ON trail_words
FOR EACH ROW EXECUTE FUNCTION keep_trail_words();

CREATE TRIGGER trail_words_no_delete BEFORE DELETE ON trail_words
FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER trail_words_no_truncate BEFORE TRUNCATE ON trail_words
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
