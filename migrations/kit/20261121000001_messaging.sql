-- What every service owns for its part in the choreography. Applied by service-kit to each
-- service's database before the service's own migrations.

-- Who this database is: part of ce_source. `eventpulse db restored` renews it, so that a database
-- restored from an older dump does not reuse sequence numbers under the same name.
CREATE TABLE incarnation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN incarnation.only_row IS 'holds the table to one row';
COMMENT ON COLUMN incarnation.id IS 'second part of ce_source';
COMMENT ON COLUMN incarnation.created_at IS 'when this incarnation began';
INSERT INTO incarnation DEFAULT VALUES;

CREATE TABLE inbox_events (
    event_id uuid PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('done', 'dead')),
    error text,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN inbox_events.event_id IS 'ce_id; the id of the dead letter when a record has none that can be read';
COMMENT ON COLUMN inbox_events.topic IS 'where it was first read, without prefix';
COMMENT ON COLUMN inbox_events.partition IS 'where it was first read';
COMMENT ON COLUMN inbox_events.kafka_offset IS 'where it was first read';
COMMENT ON COLUMN inbox_events.status IS 'done: its effect is in this database; dead: it is a dead letter';
COMMENT ON COLUMN inbox_events.error IS 'why it is dead';
COMMENT ON COLUMN inbox_events.received_at IS 'when it was claimed';

CREATE TABLE consumer_offsets (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
COMMENT ON COLUMN consumer_offsets.topic IS 'topic as the broker knows it, with prefix';
COMMENT ON COLUMN consumer_offsets.partition IS 'partition of it';
COMMENT ON COLUMN consumer_offsets.next_offset IS 'first offset whose effect is not in this database';

CREATE TABLE outbox_keys (
    topic text NOT NULL,
    key bytea NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 70);
COMMENT ON COLUMN outbox_keys.topic IS 'topic without prefix';
COMMENT ON COLUMN outbox_keys.key IS 'Kafka key';
COMMENT ON COLUMN outbox_keys.seq IS 'last ce_sequence given; its row lock is held to the end of the transaction, so sequence order is commit order';

CREATE TABLE outbox_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    topic text NOT NULL,
    key bytea NOT NULL,
    key_seq bigint NOT NULL,
    shard smallint NOT NULL,
    event_type text NOT NULL,
    headers bytea NOT NULL,
    schema_record text,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT '-infinity',
    parked boolean NOT NULL DEFAULT false,
    last_error text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX outbox_events_shard_id ON outbox_events (shard, id);
COMMENT ON COLUMN outbox_events.id IS 'within one key, id order is sequence order is commit order; across keys it says nothing';
COMMENT ON COLUMN outbox_events.event_id IS 'ce_id';
COMMENT ON COLUMN outbox_events.topic IS 'topic without prefix';
COMMENT ON COLUMN outbox_events.key IS 'Kafka key';
COMMENT ON COLUMN outbox_events.key_seq IS 'ce_sequence';
COMMENT ON COLUMN outbox_events.shard IS 'hash of topic and key; a relay owns whole shards';
COMMENT ON COLUMN outbox_events.event_type IS 'ce_type';
COMMENT ON COLUMN outbox_events.headers IS 'record headers, length-prefixed pairs';
COMMENT ON COLUMN outbox_events.schema_record IS 'record name of the Avro schema; the relay frames the payload with its registry id. NULL: payload goes out as it is (dead letters)';
COMMENT ON COLUMN outbox_events.payload IS 'Avro datum without framing, or raw bytes';
COMMENT ON COLUMN outbox_events.created_at IS 'when the transaction that said it wrote it';
COMMENT ON COLUMN outbox_events.attempts IS 'refusals by the broker for this row''s own fault';
COMMENT ON COLUMN outbox_events.not_before IS 'back-off after a failure';
COMMENT ON COLUMN outbox_events.parked IS 'given up until a person decides; blocks its key, and only its key';
COMMENT ON COLUMN outbox_events.last_error IS 'what the broker said';

CREATE TABLE outbox_sent (
    event_id uuid NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    key_seq bigint NOT NULL,
    event_type text NOT NULL,
    headers bytea NOT NULL,
    schema_record text,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_sent_sent_at ON outbox_sent USING brin (sent_at);
COMMENT ON COLUMN outbox_sent.event_id IS 'ce_id';
COMMENT ON COLUMN outbox_sent.topic IS 'topic without prefix';
COMMENT ON COLUMN outbox_sent.key IS 'Kafka key';
COMMENT ON COLUMN outbox_sent.key_seq IS 'ce_sequence';
COMMENT ON COLUMN outbox_sent.event_type IS 'ce_type';
COMMENT ON COLUMN outbox_sent.headers IS 'record headers, length-prefixed pairs';
COMMENT ON COLUMN outbox_sent.schema_record IS 'record name of the Avro schema';
COMMENT ON COLUMN outbox_sent.payload IS 'Avro datum without framing, or raw bytes';
COMMENT ON COLUMN outbox_sent.created_at IS 'when it was written';
COMMENT ON COLUMN outbox_sent.partition IS 'where the broker put it';
COMMENT ON COLUMN outbox_sent.kafka_offset IS 'where the broker put it';
COMMENT ON COLUMN outbox_sent.sent_at IS 'when the broker''s acknowledgement was recorded';

CREATE TABLE schema_ids (
    record text NOT NULL,
    fingerprint text NOT NULL,
    registry_id integer NOT NULL,
    PRIMARY KEY (record, fingerprint)
);
COMMENT ON COLUMN schema_ids.record IS 'full name of the Avro record: the registry''s subject';
COMMENT ON COLUMN schema_ids.fingerprint IS 'Rabin fingerprint of the schema''s canonical form';
COMMENT ON COLUMN schema_ids.registry_id IS 'id that the registry gave it; kept, so that publishing does not hang on the registry';
