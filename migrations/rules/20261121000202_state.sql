-- What decisions read and change. Lock order: decide_under, correlations by key, targets by name, timers.

CREATE TABLE correlations (
    key text PRIMARY KEY,
    decisions bigint NOT NULL DEFAULT 0,
    sequences jsonb NOT NULL DEFAULT '[]',
    incident_id uuid,
    phase text CHECK (phase IN ('open', 'failed', 'closed')),
    memory jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX correlations_incident_id ON correlations (incident_id) WHERE incident_id IS NOT NULL;
CREATE INDEX correlations_current ON correlations (phase) WHERE phase IN ('open', 'failed');
COMMENT ON COLUMN correlations.key IS 'canonical name=value list of group_by; for inputs that belong to no correlation, their topic key';
COMMENT ON COLUMN correlations.decisions IS 'decisions so far: seq of the last row of decisions_log with this key';
COMMENT ON COLUMN correlations.sequences IS 'last ce_sequence folded per topic, key and ce_source: a repeat is known when the inbox has forgotten it';
COMMENT ON COLUMN correlations.incident_id IS 'the current incident, else the latest';
COMMENT ON COLUMN correlations.phase IS 'where that incident is in its life; open and failed ones are current';
COMMENT ON COLUMN correlations.memory IS 'incident, alerts, evidence, actions under way and timers, as domain::Memory';
COMMENT ON COLUMN correlations.updated_at IS 'when a decision last changed it';

CREATE TABLE strays (
    episode_id uuid NOT NULL,
    correlation_key text NOT NULL,
    PRIMARY KEY (episode_id, correlation_key)
);
COMMENT ON COLUMN strays.episode_id IS 'fired in a current incident when the rules changed: later rules may see it elsewhere, and it stays';
COMMENT ON COLUMN strays.correlation_key IS 'the correlation that it belongs to';

CREATE TABLE targets (
    name text PRIMARY KEY,
    replicas integer,
    pending jsonb,
    latest_action uuid,
    asked_at jsonb NOT NULL DEFAULT '{}',
    waiting jsonb NOT NULL DEFAULT '[]',
    pause jsonb,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN targets.name IS 'name in targets.yaml; * stands for all of them, in a pause';
COMMENT ON COLUMN targets.replicas IS 'running replicas as an action last reported them; NULL: unknown';
COMMENT ON COLUMN targets.pending IS 'the action under way: action_id, correlation_key, rule, desired';
COMMENT ON COLUMN targets.latest_action IS 'the action that was asked for last';
COMMENT ON COLUMN targets.asked_at IS 'when each rule last asked for an action: what cooldowns count from';
COMMENT ON COLUMN targets.waiting IS 'correlations with a step that was refused because of pending or pause';
COMMENT ON COLUMN targets.pause IS 'pause_id, at, until, actor, reason, while a person paused it';
COMMENT ON COLUMN targets.updated_at IS 'when a decision last changed it';
INSERT INTO targets (name) VALUES ('*');

-- Two facts concern every decision: which rules are active, and whether all targets are paused. Each
-- batch takes them under shared locks, and who changes one takes that lock alone: a change waits for
-- the batches under way, later batches wait for the change, and no batch sees half of it. Advisory
-- locks, because they queue fairly and cost no write; a function, because what is read after the
-- wait needs a snapshot of its own. Transaction-level: nothing to unlock.
CREATE FUNCTION decide_under(activates boolean, pauses_all boolean)
RETURNS TABLE (hash text, activation bigint, pause jsonb)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    rules_lock CONSTANT bigint := x'72756c65735f3031'::bigint;
    pause_lock CONSTANT bigint := x'72756c65735f3032'::bigint;
BEGIN
    IF activates THEN
        PERFORM pg_advisory_xact_lock(rules_lock);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(rules_lock);
    END IF;
    IF pauses_all THEN
        PERFORM pg_advisory_xact_lock(pause_lock);
    ELSE
        PERFORM pg_advisory_xact_lock_shared(pause_lock);
    END IF;
    RETURN QUERY
        SELECT active_rules.hash, active_rules.activation, targets.pause
        FROM active_rules, targets WHERE targets.name = '*';
END
$$;

CREATE TABLE actions (
    action_id uuid PRIMARY KEY,
    correlation_key text NOT NULL,
    incident_id uuid NOT NULL,
    target text NOT NULL,
    requested_at timestamptz NOT NULL
);
COMMENT ON COLUMN actions.action_id IS 'an action that was asked for';
COMMENT ON COLUMN actions.correlation_key IS 'the correlation whose state its outcome changes: the outcome does not name it';
COMMENT ON COLUMN actions.incident_id IS 'in whose name it was asked for';
COMMENT ON COLUMN actions.target IS 'what it is done to';
COMMENT ON COLUMN actions.requested_at IS 'at of the request';

CREATE TABLE timers (
    timer_id uuid PRIMARY KEY,
    correlation_key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('timeout', 'recheck', 'verify', 'settle')),
    entity uuid,
    due_at timestamptz NOT NULL,
    traceparent text,
    tracestate text
);
CREATE INDEX timers_due_at ON timers (due_at);
COMMENT ON COLUMN timers.timer_id IS 'derived from key, kind, entity and the arming event';
COMMENT ON COLUMN timers.correlation_key IS 'the correlation that it wakes';
COMMENT ON COLUMN timers.kind IS 'timeout of an action, recheck of refused steps, verify after an action, settle before closing';
COMMENT ON COLUMN timers.entity IS 'timeout: the action; verify and settle: the incident';
COMMENT ON COLUMN timers.due_at IS 'on the inputs'' clock';
COMMENT ON COLUMN timers.traceparent IS 'W3C trace context of the input that set it';
COMMENT ON COLUMN timers.tracestate IS 'W3C trace context of the input that set it';
