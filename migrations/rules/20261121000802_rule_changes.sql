-- Who changed the rules, when, why, and where in topic `rule` that is.

CREATE TABLE rule_changes (
    event_id uuid PRIMARY KEY,
    number bigint NOT NULL,
    hash text NOT NULL,
    previous text,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    content text NOT NULL,
    summary jsonb NOT NULL,
    version text,
    fault text,
    partition integer,
    kafka_offset bigint,
    applied_at timestamptz
);
CREATE INDEX rule_changes_number ON rule_changes (number);
CREATE INDEX rule_changes_hash ON rule_changes (hash text_pattern_ops);
COMMENT ON COLUMN rule_changes.event_id IS 'ce_id of rule.changed';
COMMENT ON COLUMN rule_changes.number IS 'of the change, from 1';
COMMENT ON COLUMN rule_changes.hash IS 'SHA-256 of content, hexadecimal';
COMMENT ON COLUMN rule_changes.previous IS 'hash of the file that it took the place of';
COMMENT ON COLUMN rule_changes.actor IS 'who; file: the rules file that began the topic';
COMMENT ON COLUMN rule_changes.reason IS 'why';
COMMENT ON COLUMN rule_changes.at IS 'when it was accepted';
COMMENT ON COLUMN rule_changes.content IS 'the whole rules file';
COMMENT ON COLUMN rule_changes.summary IS 'names of rules that were added, removed and changed';
COMMENT ON COLUMN rule_changes.version IS 'the rule set that it became; NULL while it has not come back through the topic, or never became one';
COMMENT ON COLUMN rule_changes.fault IS 'why it did not take effect';
COMMENT ON COLUMN rule_changes.partition IS 'where it is in topic rule; NULL while it has not come back';
COMMENT ON COLUMN rule_changes.kafka_offset IS 'where it is in topic rule; NULL while it has not come back';
COMMENT ON COLUMN rule_changes.applied_at IS 'when it came back; later inputs were decided under it';
