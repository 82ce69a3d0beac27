-- What an explanation needs of an input besides the labels of its series, and a way to find it by id.

ALTER TABLE decisions_log
    ADD COLUMN decision_id uuid,
    ADD COLUMN annotations jsonb,
    ADD COLUMN occurrence bigint,
    ADD COLUMN emitted_types jsonb;
CREATE INDEX decisions_log_input_id ON decisions_log (input_id);
CREATE INDEX decisions_log_decision_id ON decisions_log (decision_id) WHERE decision_id IS NOT NULL;
COMMENT ON COLUMN decisions_log.decision_id IS 'set when the input was decided under several keys; else the decision has the id of its input';
COMMENT ON COLUMN decisions_log.annotations IS 'annotations of an alert event as it said them; NULL for other inputs and in older rows';
COMMENT ON COLUMN decisions_log.occurrence IS 'occurrence of alert.raised';
COMMENT ON COLUMN decisions_log.emitted_types IS 'ce_type of each of emitted, in the same order; NULL in older rows';
