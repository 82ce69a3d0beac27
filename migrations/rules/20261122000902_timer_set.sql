-- A timeout is about silence: an action that was asked for late, after an outage, must not be timed out before
-- Action Runner could have heard of it.
ALTER TABLE timers ADD COLUMN set_at timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN timers.set_at IS 'when the row was written, by this database''s clock; a timeout fires no sooner than the grace of actions after it';
