-- What each target should come to, and who is working on it. Name '*' stands for every target: only
-- its pause counts.
CREATE TABLE targets (
    name text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    settled integer CHECK (settled >= 0),
    foreign_replicas integer CHECK (foreign_replicas >= 0),
    pending uuid,
    last_action uuid,
    last_request_at timestamptz,
    doomed text[] NOT NULL DEFAULT '{}',
    pause_id uuid,
    paused_at timestamptz,
    paused_until timestamptz,
    pause_actor text,
    pause_reason text,
    pause_changed_at timestamptz,
    lease_owner uuid,
    lease_until timestamptz,
    template jsonb,
    template_hash text,
    template_of text,
    observed jsonb,
    observed_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN targets.name IS 'name in targets.yaml';
COMMENT ON COLUMN targets.epoch IS 'raised by every accepted request and every end of an action: what was planned under an earlier one is not done';
COMMENT ON COLUMN targets.settled IS 'replicas to keep while no action is pending; NULL before the first action';
COMMENT ON COLUMN targets.foreign_replicas IS 'running containers made by others when it settled';
COMMENT ON COLUMN targets.pending IS 'the action that is under way';
COMMENT ON COLUMN targets.last_action IS 'the newest accepted action';
COMMENT ON COLUMN targets.last_request_at IS 'at of the newest accepted request';
COMMENT ON COLUMN targets.doomed IS 'container ids of replicas that failed an action and are still to be removed';
COMMENT ON COLUMN targets.pause_id IS 'the pause that holds; NULL: none';
COMMENT ON COLUMN targets.paused_at IS 'since when';
COMMENT ON COLUMN targets.paused_until IS 'until when; NULL: until somebody resumes';
COMMENT ON COLUMN targets.pause_actor IS 'who paused';
COMMENT ON COLUMN targets.pause_reason IS 'why';
COMMENT ON COLUMN targets.pause_changed_at IS 'at of the newest pause or resume: an older one that comes late changes nothing';
COMMENT ON COLUMN targets.lease_owner IS 'the process that may touch the target';
COMMENT ON COLUMN targets.lease_until IS 'until when, by this database''s clock';
COMMENT ON COLUMN targets.template IS 'what replicas were last made from: used when no container of others is left';
COMMENT ON COLUMN targets.template_hash IS 'its hash';
COMMENT ON COLUMN targets.template_of IS 'name of the container that it was';
COMMENT ON COLUMN targets.observed IS 'what was last seen, for people';
COMMENT ON COLUMN targets.observed_at IS 'when';

CREATE TABLE action_exec (
    action_id uuid PRIMARY KEY,
    event_id uuid NOT NULL,
    incident_id uuid NOT NULL,
    target text NOT NULL,
    kind text NOT NULL,
    direction text NOT NULL,
    desired integer NOT NULL,
    requested_previous integer,
    rule text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    epoch bigint NOT NULL,
    previous integer,
    status text NOT NULL CHECK (status IN ('pending', 'completed', 'failed')),
    result text CHECK ((result IS NULL) = (status = 'pending')),
    message text,
    running integer,
    evidence jsonb NOT NULL DEFAULT '[]',
    finished_at timestamptz CHECK ((finished_at IS NULL) = (status = 'pending')),
    traceparent text,
    tracestate text
);
-- At most one action of a target is under way, whatever the code believes.
CREATE UNIQUE INDEX action_exec_pending ON action_exec (target) WHERE status = 'pending';
CREATE INDEX action_exec_requested_at ON action_exec (requested_at DESC, action_id DESC);
COMMENT ON COLUMN action_exec.action_id IS 'id of the action';
COMMENT ON COLUMN action_exec.event_id IS 'ce_id of action.requested: cause of the outcome';
COMMENT ON COLUMN action_exec.incident_id IS 'incident that it belongs to';
COMMENT ON COLUMN action_exec.target IS 'name in targets.yaml';
COMMENT ON COLUMN action_exec.kind IS 'scale_docker | ensure_replicas';
COMMENT ON COLUMN action_exec.direction IS 'up: at least; down: at most; exact';
COMMENT ON COLUMN action_exec.desired IS 'replicas that were asked for';
COMMENT ON COLUMN action_exec.requested_previous IS 'replicas before, as the request knew it';
COMMENT ON COLUMN action_exec.rule IS 'rule that asked';
COMMENT ON COLUMN action_exec.reason IS 'why, in words';
COMMENT ON COLUMN action_exec.requested_at IS 'at of the request';
COMMENT ON COLUMN action_exec.deadline_at IS 'when it fails unless it is done';
COMMENT ON COLUMN action_exec.epoch IS 'epoch of the target under which it was accepted';
COMMENT ON COLUMN action_exec.previous IS 'running containers before the first step, as observed';
COMMENT ON COLUMN action_exec.status IS 'pending, or one of the terminal ones for ever';
COMMENT ON COLUMN action_exec.result IS 'completed: scaled | nothing_to_do | drift; failed: unhealthy | docker | deadline | superseded | unknown_target | out_of_bounds';
COMMENT ON COLUMN action_exec.message IS 'a sentence for people';
COMMENT ON COLUMN action_exec.running IS 'running containers at the end, where they were observed';
COMMENT ON COLUMN action_exec.evidence IS 'what was seen of replicas before they were removed';
COMMENT ON COLUMN action_exec.finished_at IS 'at of the terminal event';
COMMENT ON COLUMN action_exec.traceparent IS 'W3C trace context of the request';
COMMENT ON COLUMN action_exec.tracestate IS 'W3C trace context of the request';
