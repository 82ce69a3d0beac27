-- What people did to the outbox: who, when, why, and what they skipped, whole.
CREATE TABLE outbox_interventions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    verb text NOT NULL CHECK (verb IN ('retry', 'skip', 'resend')),
    actor text NOT NULL,
    reason text NOT NULL,
    event_id uuid,
    topic text,
    key bytea,
    key_seq bigint,
    event_type text,
    last_error text,
    headers bytea,
    schema_record text,
    payload bytea,
    sent_since timestamptz,
    sent_until timestamptz,
    events bigint NOT NULL
);
CREATE INDEX outbox_interventions_event ON outbox_interventions (event_id);
COMMENT ON COLUMN outbox_interventions.id IS 'order';
COMMENT ON COLUMN outbox_interventions.at IS 'when';
COMMENT ON COLUMN outbox_interventions.verb IS 'retry: a held event is tried again; skip: it is never sent; resend: events that were sent go out once more';
COMMENT ON COLUMN outbox_interventions.actor IS 'who';
COMMENT ON COLUMN outbox_interventions.reason IS 'why';
COMMENT ON COLUMN outbox_interventions.event_id IS 'ce_id of the one event; NULL for resend';
COMMENT ON COLUMN outbox_interventions.topic IS 'its topic without prefix';
COMMENT ON COLUMN outbox_interventions.key IS 'its Kafka key';
COMMENT ON COLUMN outbox_interventions.key_seq IS 'its ce_sequence: after a skip, readers of the topic see a gap there';
COMMENT ON COLUMN outbox_interventions.event_type IS 'its ce_type';
COMMENT ON COLUMN outbox_interventions.last_error IS 'what the broker had said of it';
COMMENT ON COLUMN outbox_interventions.headers IS 'of a skipped event: its headers, as in outbox_events';
COMMENT ON COLUMN outbox_interventions.schema_record IS 'of a skipped event: as in outbox_events';
COMMENT ON COLUMN outbox_interventions.payload IS 'of a skipped event: as in outbox_events';
COMMENT ON COLUMN outbox_interventions.sent_since IS 'of resend: events that the broker acknowledged from then on';
COMMENT ON COLUMN outbox_interventions.sent_until IS 'of resend: and before then';
COMMENT ON COLUMN outbox_interventions.events IS 'how many events it concerned';
