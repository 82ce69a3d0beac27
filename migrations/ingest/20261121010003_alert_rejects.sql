-- Alerts that could not be taken, each with its bytes and the reason; the rest of their body was.
CREATE TABLE alert_rejects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    receipt_id uuid NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    raw bytea NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX alert_rejects_receipt_id ON alert_rejects (receipt_id);
CREATE INDEX alert_rejects_at ON alert_rejects USING brin (at);

COMMENT ON COLUMN alert_rejects.id IS 'order of arrival';
COMMENT ON COLUMN alert_rejects.receipt_id IS 'the body that brought it';
COMMENT ON COLUMN alert_rejects.source IS 'name of the credential that sent it';
COMMENT ON COLUMN alert_rejects.reason IS 'code: shape, status, no_labels, too_many_labels, label, nul, time, too_large, database, fault';
COMMENT ON COLUMN alert_rejects.detail IS 'what exactly, for people';
COMMENT ON COLUMN alert_rejects.raw IS 'the alert as it came';
COMMENT ON COLUMN alert_rejects.at IS 'when it was rejected (database clock)';
