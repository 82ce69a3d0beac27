-- What decisions are made by. Every version is kept: a decision names the set that it was made under,
-- and can be explained and replayed with it.

CREATE TABLE rules (
    name text NOT NULL,
    version text NOT NULL,
    content jsonb NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);
COMMENT ON COLUMN rules.name IS 'name of the rule';
COMMENT ON COLUMN rules.version IS 'SHA-256 of its content, hexadecimal';
COMMENT ON COLUMN rules.content IS 'what the rule says, normalised';
COMMENT ON COLUMN rules.loaded_at IS 'when this version was first loaded';

CREATE TABLE rule_sets (
    hash text PRIMARY KEY,
    rules_name text NOT NULL,
    rules_text text NOT NULL,
    targets_name text NOT NULL,
    targets_text text NOT NULL,
    settle_ms bigint NOT NULL,
    action_grace_ms bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN rule_sets.hash IS 'SHA-256 of rule versions in order, bounds of targets, and policy, hexadecimal';
COMMENT ON COLUMN rule_sets.rules_name IS 'rules file, as errors name it';
COMMENT ON COLUMN rule_sets.rules_text IS 'rules file as it was read';
COMMENT ON COLUMN rule_sets.targets_name IS 'targets file, as errors name it';
COMMENT ON COLUMN rule_sets.targets_text IS 'targets file as it was read';
COMMENT ON COLUMN rule_sets.settle_ms IS 'policy: time without a holding alert after an action has ended, before an incident closes';
COMMENT ON COLUMN rule_sets.action_grace_ms IS 'policy: time after its deadline at which an action without news is taken to have timed out';
COMMENT ON COLUMN rule_sets.loaded_at IS 'when this set was first loaded';

-- One row for all instances, read by every batch (see decide_under).
CREATE TABLE active_rules (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    hash text REFERENCES rule_sets (hash),
    activation bigint NOT NULL DEFAULT 0,
    activated_at timestamptz
);
COMMENT ON COLUMN active_rules.only_row IS 'holds the table to one row';
COMMENT ON COLUMN active_rules.hash IS 'the active set; NULL before the first load';
COMMENT ON COLUMN active_rules.activation IS 'activations so far';
COMMENT ON COLUMN active_rules.activated_at IS 'when the active set became it';
INSERT INTO active_rules DEFAULT VALUES;
