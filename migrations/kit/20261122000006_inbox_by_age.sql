-- What is older than EVENTPULSE_INBOX_RETENTION is found without reading all that was ever handled. Rows
-- come in the order of their time, so a range of pages has a range of times.
CREATE INDEX inbox_events_received_at ON inbox_events USING brin (received_at);
