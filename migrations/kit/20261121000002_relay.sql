-- The relay reads the outbox in id order from the primary key and filters shards; what it must
-- find at once, however long the outbox is, are the rows that hold up their key.
DROP INDEX outbox_events_shard_id;
CREATE INDEX outbox_events_held ON outbox_events (topic, key)
    WHERE parked OR not_before > '-infinity';
