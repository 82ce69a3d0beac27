-- Every accepted webhook body as it came: proof of what was said, and material to replay.
CREATE TABLE receipts (
    receipt_id uuid PRIMARY KEY,
    source text NOT NULL,
    remote text NOT NULL,
    user_agent text,
    received_at timestamptz NOT NULL,
    alerts integer NOT NULL,
    truncated bigint NOT NULL,
    size integer NOT NULL,
    sha256 bytea NOT NULL,
    body bytea NOT NULL
);
-- zstd has done it
ALTER TABLE receipts ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX receipts_received_at ON receipts (received_at DESC, receipt_id DESC);

COMMENT ON COLUMN receipts.receipt_id IS 'of this one delivery: a body that is sent again has another';
COMMENT ON COLUMN receipts.source IS 'name of the credential that sent it';
COMMENT ON COLUMN receipts.remote IS 'address that sent it';
COMMENT ON COLUMN receipts.user_agent IS 'as the sender named itself';
COMMENT ON COLUMN receipts.received_at IS 'when it was committed (database clock)';
COMMENT ON COLUMN receipts.alerts IS 'alerts in the body, rejected ones included';
COMMENT ON COLUMN receipts.truncated IS 'alerts that the sender says it left out';
COMMENT ON COLUMN receipts.size IS 'bytes of the body as it came';
COMMENT ON COLUMN receipts.sha256 IS 'hash of the body as it came';
COMMENT ON COLUMN receipts.body IS 'the body, zstd';
