-- The audit trail on SQLite: entries are only ever added, each after the newest one, and words can
-- be emptied but neither changed nor removed.

CREATE TRIGGER trail_entries_no_update BEFORE UPDATE ON trail_entries
BEGIN SELECT RAISE(ABORT, 'trail_entries is append-only'); END;

CREATE TRIGGER trail_entries_no_delete BEFORE DELETE ON trail_entries
BEGIN SELECT RAISE(ABORT, 'trail_entries is append-only'); END;

-- Notes the newest entry beside the trail, so that an audit finds when the last ones are gone.
CREATE TRIGGER trail_entries_follow AFTER INSERT ON trail_entries
BEGIN
    SELECT RAISE(ABORT, 'trail_entries: it does not follow the newest entry')
    WHERE NOT EXISTS (SELECT 1 FROM trail_heads WHERE number = NEW.number - 1);
    UPDATE trail_heads SET number = NEW.number, hash = NEW.hash;
END;

CREATE TRIGGER trail_words_only_emptied BEFORE UPDATE ON trail_words
WHEN NEW.digest <> OLD.digest OR NEW.user_id IS NOT coalesce(OLD.user_id, NEW.user_id)
    OR NEW.words <> '' OR length(NEW.salt) <> 0
BEGIN SELECT RAISE(ABORT, 'trail_words can only be emptied'); END;

CREATE TRIGGER trail_words_no_delete BEFORE DELETE ON trail_words
BEGIN SELECT RAISE(ABORT, 'trail_words is append-only'); END;
