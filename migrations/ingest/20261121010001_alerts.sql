-- One row for each series: a source and its labels. The row is the whole state of the series; its
-- history is on the topic `alert`.
CREATE TABLE alerts (
    alert_id uuid PRIMARY KEY,
    source text NOT NULL,
    labels jsonb NOT NULL,
    annotations jsonb NOT NULL DEFAULT '{}',
    generator_url text,
    fingerprint text,
    receipt_id uuid,
    status text NOT NULL DEFAULT 'resolved',
    episode bigint NOT NULL DEFAULT 0,
    episode_id uuid,
    reopens uuid,
    starts_at timestamptz,
    last_starts_at timestamptz,
    ends_at timestamptz,
    resolve_reason text,
    occurrences bigint NOT NULL DEFAULT 0,
    total_occurrences bigint NOT NULL DEFAULT 0,
    over_until timestamptz,
    resolve_heard_at timestamptz,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT alerts_status CHECK (status IN ('firing', 'resolved')),
    CONSTRAINT alerts_resolve_reason CHECK (resolve_reason IN ('notified', 'silent')),
    CONSTRAINT alerts_episode CHECK (
        CASE WHEN episode = 0
        THEN status = 'resolved' AND num_nonnulls(episode_id, starts_at, last_starts_at, resolve_reason) = 0
        ELSE num_nulls(episode_id, starts_at, last_starts_at) = 0
             AND (status = 'firing') = (resolve_reason IS NULL)
             AND (status = 'resolved' OR ends_at IS NULL)
        END
    )
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
-- None of the indexed columns but status changes after the first notification: updates stay within
-- their page and touch no index.
CREATE INDEX alerts_first_seen ON alerts (first_seen DESC, alert_id DESC);
CREATE INDEX alerts_service ON alerts ((labels ->> 'service'), first_seen DESC, alert_id DESC);
CREATE INDEX alerts_firing ON alerts (first_seen DESC, alert_id DESC) WHERE status = 'firing';

COMMENT ON COLUMN alerts.alert_id IS 'derived from source and labels';
COMMENT ON COLUMN alerts.source IS 'name of the credential that sent it';
COMMENT ON COLUMN alerts.labels IS 'as sent, without empty ones';
COMMENT ON COLUMN alerts.annotations IS 'as last sent';
COMMENT ON COLUMN alerts.generator_url IS 'link to the expression that fired, as last sent';
COMMENT ON COLUMN alerts.fingerprint IS 'Alertmanager''s hash of the labels; never an identity';
COMMENT ON COLUMN alerts.receipt_id IS 'the stored body that last changed this row; its receipt may be pruned by now';
COMMENT ON COLUMN alerts.status IS 'firing | resolved';
COMMENT ON COLUMN alerts.episode IS 'number of the latest episode, from 1; 0: only resolves were heard, it never fired';
COMMENT ON COLUMN alerts.episode_id IS 'the latest episode: derived from alert_id, its number and its first startsAt';
COMMENT ON COLUMN alerts.reopens IS 'the episode that the latest one reopens';
COMMENT ON COLUMN alerts.starts_at IS 'earliest startsAt of the latest episode (sender''s clock)';
COMMENT ON COLUMN alerts.last_starts_at IS 'latest startsAt of the latest episode (sender''s clock): a resolve that ends before it is of something older';
COMMENT ON COLUMN alerts.ends_at IS 'end of the latest episode (sender''s clock); NULL while it fires, or when the end was only inferred';
COMMENT ON COLUMN alerts.resolve_reason IS 'notified: the sender said so; silent: unheard of for too long. NULL while it fires';
COMMENT ON COLUMN alerts.occurrences IS 'accepted firing notifications of the latest episode';
COMMENT ON COLUMN alerts.total_occurrences IS 'accepted firing notifications of all episodes';
COMMENT ON COLUMN alerts.over_until IS 'latest end that a resolve told (sender''s clock): what started no later is known to be over, while resolve_heard_at is fresh';
COMMENT ON COLUMN alerts.resolve_heard_at IS 'when a resolve that counted was last heard (database clock)';
COMMENT ON COLUMN alerts.first_seen IS 'when the series was first heard of (database clock)';
COMMENT ON COLUMN alerts.last_seen IS 'when something of it that counted was last heard (database clock)';
COMMENT ON COLUMN alerts.at IS 'when this row last changed (database clock), never going back';
