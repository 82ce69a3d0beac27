-- Every decision ever made, in an order in which making them again gives the same states: rows of
-- one correlation by seq; all rows by id, since ids are given while the rows that a decision reads
-- are locked.

CREATE TABLE decisions_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    correlation_key text NOT NULL,
    seq bigint NOT NULL,
    input_id uuid NOT NULL,
    input text NOT NULL,
    detail jsonb,
    topic text,
    partition integer,
    kafka_offset bigint,
    alert_id uuid,
    episode_id uuid,
    incident_id uuid,
    at timestamptz NOT NULL,
    rules_hash text NOT NULL,
    read jsonb NOT NULL,
    outcomes jsonb NOT NULL,
    emitted jsonb NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (correlation_key, seq)
);
CREATE INDEX decisions_log_alert_id ON decisions_log (alert_id, id) WHERE alert_id IS NOT NULL;
CREATE INDEX decisions_log_incident_id ON decisions_log (incident_id, id) WHERE incident_id IS NOT NULL;
CREATE INDEX decisions_log_recorded_at ON decisions_log USING brin (recorded_at);
COMMENT ON COLUMN decisions_log.id IS 'an order in which all decisions can be made again; cursor of the API';
COMMENT ON COLUMN decisions_log.correlation_key IS 'where it was decided; for an input that no rule means, its topic key';
COMMENT ON COLUMN decisions_log.seq IS 'gapless per correlation_key, from 1';
COMMENT ON COLUMN decisions_log.input_id IS 'ce_id of the event, or the derived id of a timer, command or rule change';
COMMENT ON COLUMN decisions_log.input IS 'alert.raised, action.failed, timer.verify, command.pause, rules.loaded and the like';
COMMENT ON COLUMN decisions_log.detail IS 'the input itself, when it is on no topic; NULL for events';
COMMENT ON COLUMN decisions_log.topic IS 'where the event was read, without prefix';
COMMENT ON COLUMN decisions_log.partition IS 'where the event was read';
COMMENT ON COLUMN decisions_log.kafka_offset IS 'where the event was read';
COMMENT ON COLUMN decisions_log.alert_id IS 'series, of alert events';
COMMENT ON COLUMN decisions_log.episode_id IS 'episode, of alert events';
COMMENT ON COLUMN decisions_log.incident_id IS 'the incident of the correlation after the decision';
COMMENT ON COLUMN decisions_log.at IS 'at of the input';
COMMENT ON COLUMN decisions_log.rules_hash IS 'the rule set that it was decided under';
COMMENT ON COLUMN decisions_log.read IS 'what was read: incident, actions under way, targets';
COMMENT ON COLUMN decisions_log.outcomes IS 'answer of each rule that matched: rule, version, outcome, reason, inputs, emitted';
COMMENT ON COLUMN decisions_log.emitted IS 'ids of the events that follow from it, in order';
COMMENT ON COLUMN decisions_log.recorded_at IS 'when it was decided';

CREATE TABLE series (
    alert_id uuid PRIMARY KEY,
    labels jsonb NOT NULL
);
COMMENT ON COLUMN series.alert_id IS 'derived from source and labels';
COMMENT ON COLUMN series.labels IS 'its labels: what the answers of the rules that did not match are worked out from';
