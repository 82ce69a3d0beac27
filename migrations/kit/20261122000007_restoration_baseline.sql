-- What a restored database knew when it began to catch up. Catching up may end half-way and begin
-- again, and by then the tables that tell it have moved.
ALTER TABLE restorations
    ADD COLUMN last_outbox_id bigint,
    ADD COLUMN read_until jsonb;
COMMENT ON COLUMN restorations.last_outbox_id IS 'last row of outbox_events that the dump had, 0 when it had none; NULL: catching up has not begun';
COMMENT ON COLUMN restorations.read_until IS 'consumer_offsets as the dump had them; NULL: catching up has not begun';
