-- A database that was restored from an older dump, and what that dump lacked.
CREATE TABLE restorations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    reason text NOT NULL,
    incarnation_before uuid NOT NULL,
    incarnation uuid NOT NULL,
    caught_up_at timestamptz,
    report jsonb
);
CREATE INDEX restorations_open ON restorations (id) WHERE caught_up_at IS NULL;
COMMENT ON COLUMN restorations.id IS 'order';
COMMENT ON COLUMN restorations.at IS 'when a person said that the database was restored';
COMMENT ON COLUMN restorations.actor IS 'who';
COMMENT ON COLUMN restorations.reason IS 'why';
COMMENT ON COLUMN restorations.incarnation_before IS 'what the database was called in ce_source when the dump was made';
COMMENT ON COLUMN restorations.incarnation IS 'what it is called since';
COMMENT ON COLUMN restorations.caught_up_at IS 'when the service had taken in what the dump lacked; NULL: it has not yet';
COMMENT ON COLUMN restorations.report IS 'what the dump lacked: records that were read after it, events that were said after it, and what became of them';
