-- Sent events by day (UTC): a day that is over is dropped whole, so nothing of it is left to vacuum.
-- What was sent before this migration, or while nobody made days, is in the default partition.
ALTER TABLE outbox_sent RENAME TO outbox_sent_rest;
ALTER INDEX outbox_sent_sent_at RENAME TO outbox_sent_rest_sent_at;
CREATE TABLE outbox_sent (LIKE outbox_sent_rest INCLUDING DEFAULTS INCLUDING COMMENTS)
    PARTITION BY RANGE (sent_at);
CREATE INDEX outbox_sent_sent_at ON outbox_sent USING brin (sent_at);
ALTER TABLE outbox_sent ATTACH PARTITION outbox_sent_rest DEFAULT;

-- Makes the days after this one, up to `ahead` days from now, and drops those that ended more than `keep` ago; gives
-- how many it dropped. An empty answer (NULL): another instance is at it.
CREATE FUNCTION turn_outbox_sent(keep interval, ahead integer) RETURNS integer
    LANGUAGE plpgsql
    -- the relay writes here all the time: whoever waits for a lock makes it wait too
    SET lock_timeout = '500ms'
    SET TimeZone = 'UTC'
AS $$
DECLARE
    day date;
    name text;
    dropped integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('turn_outbox_sent')) THEN
        RETURN NULL;
    END IF;
    FOR day IN
        -- never today: an INSERT that is under way has chosen the default partition for it
        SELECT current_date + ahead_by FROM generate_series(1, ahead) AS ahead_by
    LOOP
        name := 'outbox_sent_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        -- a clock that stepped back leaves rows of later days there, and they keep their day there
        CONTINUE WHEN EXISTS (
            SELECT FROM outbox_sent_rest WHERE sent_at >= day AND sent_at < day + 1);
        -- made apart and attached: that locks the parent less than PARTITION OF
        EXECUTE format('CREATE TABLE %I (LIKE outbox_sent INCLUDING DEFAULTS INCLUDING COMMENTS)', name);
        EXECUTE format('ALTER TABLE outbox_sent ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       name, day::timestamptz, (day + 1)::timestamptz);
    END LOOP;
    FOR name IN
        SELECT inhrelid::regclass::text FROM pg_inherits
        WHERE inhparent = 'outbox_sent'::regclass
          AND inhrelid::regclass::text ~ '^outbox_sent_[0-9]{8}$'
          AND to_date(right(inhrelid::regclass::text, 8), 'YYYYMMDD') + 1 <= clock_timestamp() - keep
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
