-- What is known of incidents. Facts come in any order and more than once; every column is a join
-- over the set of them, so any interleaving gives the same rows. A `*_stamp` says which fact a
-- value came from: revision * 4 + rank of its type (opened 0, updated 1, resolved 2, failed 3).

CREATE TABLE incidents (
    incident_id uuid PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    status text CHECK (status IN ('open', 'mitigating', 'resolved', 'failed')),
    needs_attention boolean NOT NULL DEFAULT false,
    revision bigint GENERATED ALWAYS AS (status_stamp >> 2) STORED,
    status_stamp bigint,
    status_at timestamptz,
    reason_code text,
    reason_message text,
    opened_at timestamptz,
    mitigating_at timestamptz,
    resolved_at timestamptz,
    failed_at timestamptz,
    opened_stamp bigint,
    correlation_key text,
    service text,
    rule text,
    rule_version text,
    generator_url text,
    runbook_url text,
    trace_id text,
    labels jsonb,
    severity text,
    severity_stamp bigint,
    title text,
    title_stamp bigint,
    alerts jsonb,
    alerts_stamp bigint,
    next_step text,
    next_due_at timestamptz,
    next_stamp bigint,
    actions integer NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
-- stubs (no opened_at) are never listed
CREATE INDEX incidents_opened_at ON incidents (opened_at, incident_id) WHERE opened_at IS NOT NULL;
CREATE INDEX incidents_service ON incidents (service, opened_at, incident_id) WHERE opened_at IS NOT NULL;
-- what is not over is few among many
CREATE INDEX incidents_current ON incidents (opened_at, incident_id)
    WHERE status IN ('open', 'mitigating', 'failed');
COMMENT ON COLUMN incidents.incident_id IS 'derived by Rules from the correlation key and the first episode';
COMMENT ON COLUMN incidents.version IS 'number of facts applied';
COMMENT ON COLUMN incidents.status IS 'NULL: a stub, of which only actions or later facts are known yet';
COMMENT ON COLUMN incidents.needs_attention IS 'the automation gave up';
COMMENT ON COLUMN incidents.revision IS 'highest revision among opened, resolved and failed: it tells the status';
COMMENT ON COLUMN incidents.status_stamp IS 'the fact that tells the status';
COMMENT ON COLUMN incidents.status_at IS 'at of that fact';
COMMENT ON COLUMN incidents.reason_code IS 'why it resolved or failed: a code of docs/OPERATING.md';
COMMENT ON COLUMN incidents.reason_message IS 'the same as a sentence';
COMMENT ON COLUMN incidents.opened_at IS 'at of incident.opened; NULL: a stub';
COMMENT ON COLUMN incidents.mitigating_at IS 'when the first action was asked for, unless it was over by then';
COMMENT ON COLUMN incidents.resolved_at IS 'latest resolve';
COMMENT ON COLUMN incidents.failed_at IS 'latest failure; stays when the incident recovers';
COMMENT ON COLUMN incidents.opened_stamp IS 'the opening that the next columns came from: the first';
COMMENT ON COLUMN incidents.correlation_key IS 'canonical name=value list of the rule''s group_by';
COMMENT ON COLUMN incidents.service IS 'label service';
COMMENT ON COLUMN incidents.rule IS 'rule that opened it';
COMMENT ON COLUMN incidents.rule_version IS 'content hash of that rule';
COMMENT ON COLUMN incidents.generator_url IS 'link to the expression that fired';
COMMENT ON COLUMN incidents.runbook_url IS 'annotation runbook_url';
COMMENT ON COLUMN incidents.trace_id IS 'W3C trace of the opening';
COMMENT ON COLUMN incidents.labels IS 'labels of the first alert, string to string';
COMMENT ON COLUMN incidents.severity IS 'highest severity of the holding alerts';
COMMENT ON COLUMN incidents.severity_stamp IS 'the fact that severity came from';
COMMENT ON COLUMN incidents.title IS 'annotation summary';
COMMENT ON COLUMN incidents.title_stamp IS 'the fact that title came from';
COMMENT ON COLUMN incidents.alerts IS 'array of {alert_id, episode_id, name, status, holds}';
COMMENT ON COLUMN incidents.alerts_stamp IS 'the fact that alerts came from';
COMMENT ON COLUMN incidents.next_step IS 'what happens next, as Rules said it';
COMMENT ON COLUMN incidents.next_due_at IS 'when that is due';
COMMENT ON COLUMN incidents.next_stamp IS 'the fact that said so';
COMMENT ON COLUMN incidents.actions IS 'number of its actions';

-- No foreign keys here and below: whoever writes holds the lock of the incident's row, and a check
-- per row is paid for nothing.
CREATE TABLE actions (
    action_id uuid PRIMARY KEY,
    incident_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('requested', 'completed', 'failed')),
    requested_by uuid,
    requested_at timestamptz,
    requested_target text,
    kind text,
    direction text,
    desired_replicas integer,
    previous_replicas integer,
    rule text,
    deadline_at timestamptz,
    verify_within_ms bigint,
    compensates uuid,
    actor text,
    request_reason text,
    finished_by uuid,
    finished_at timestamptz,
    finished_target text,
    failed boolean,
    outcome_code text,
    outcome_message text,
    outcome_desired integer,
    outcome_previous integer,
    running_replicas integer,
    evidence jsonb
);
CREATE INDEX actions_incident_id ON actions (incident_id);
COMMENT ON COLUMN actions.action_id IS 'derived by Rules from the incident and the number of its earlier actions';
COMMENT ON COLUMN actions.incident_id IS 'the incident whose story it belongs to';
COMMENT ON COLUMN actions.status IS 'follows from the rest';
COMMENT ON COLUMN actions.requested_by IS 'ce_id of action.requested; NULL: only the outcome is known yet';
COMMENT ON COLUMN actions.requested_at IS 'when Rules asked';
COMMENT ON COLUMN actions.requested_target IS 'name in targets.yaml, as asked';
COMMENT ON COLUMN actions.kind IS 'scale_docker | ensure_replicas';
COMMENT ON COLUMN actions.direction IS 'up | down | exact';
COMMENT ON COLUMN actions.desired_replicas IS 'absolute count asked for';
COMMENT ON COLUMN actions.previous_replicas IS 'count that Rules knew before';
COMMENT ON COLUMN actions.rule IS 'the rule that asked';
COMMENT ON COLUMN actions.deadline_at IS 'after this it has failed';
COMMENT ON COLUMN actions.verify_within_ms IS 'how long the alert may still fire after completion';
COMMENT ON COLUMN actions.compensates IS 'the action that this one undoes';
COMMENT ON COLUMN actions.actor IS 'who asked, when a person did';
COMMENT ON COLUMN actions.request_reason IS 'why it was asked for, a sentence';
COMMENT ON COLUMN actions.finished_by IS 'ce_id of the terminal event; NULL: pending';
COMMENT ON COLUMN actions.finished_at IS 'when Action Runner observed it';
COMMENT ON COLUMN actions.finished_target IS 'name in targets.yaml, as told';
COMMENT ON COLUMN actions.failed IS 'whether the terminal event is action.failed';
COMMENT ON COLUMN actions.outcome_code IS 'completed: scaled | nothing_to_do | drift; failed: why';
COMMENT ON COLUMN actions.outcome_message IS 'the same as a sentence';
COMMENT ON COLUMN actions.outcome_desired IS 'absolute count that the runner worked for';
COMMENT ON COLUMN actions.outcome_previous IS 'count that the runner saw before';
COMMENT ON COLUMN actions.running_replicas IS 'count that the runner saw at the end';
COMMENT ON COLUMN actions.evidence IS 'what was seen of replicas that never got ready';

CREATE TABLE incident_events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid PRIMARY KEY,
    incident_id uuid NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    place bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    summary text NOT NULL,
    data jsonb NOT NULL,
    causation_id uuid,
    trace_id text,
    xid xid8
);
CREATE INDEX incident_events_story ON incident_events (incident_id, at, place, event_id);
CREATE INDEX incident_events_stream ON incident_events (xid, id) WHERE xid IS NOT NULL;
COMMENT ON COLUMN incident_events.id IS 'with xid, the cursor of the stream';
COMMENT ON COLUMN incident_events.event_id IS 'ce_id';
COMMENT ON COLUMN incident_events.incident_id IS 'the incident whose story it belongs to';
COMMENT ON COLUMN incident_events.type IS 'ce_type';
COMMENT ON COLUMN incident_events.at IS 'when it happened';
COMMENT ON COLUMN incident_events.place IS 'order among facts of one at: causes before what was decided because of them';
COMMENT ON COLUMN incident_events.recorded_at IS 'when it was stored here';
COMMENT ON COLUMN incident_events.actor IS 'a person, a rule, or a service';
COMMENT ON COLUMN incident_events.summary IS 'a sentence for people';
COMMENT ON COLUMN incident_events.data IS 'the whole event';
COMMENT ON COLUMN incident_events.causation_id IS 'the event that it answers';
COMMENT ON COLUMN incident_events.trace_id IS 'W3C trace that it belongs to';
COMMENT ON COLUMN incident_events.xid IS 'transaction that made it visible; NULL while its incident is a stub. The stream reads below the oldest running transaction, so a late committer is never skipped';
