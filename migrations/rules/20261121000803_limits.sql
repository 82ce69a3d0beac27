-- How many actions were asked for of late, and the circuit breaker that opens when they are too many.

ALTER TABLE targets ADD COLUMN budget jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN targets.budget IS 'asked: when actions were asked for in the last hour, while limits are set; opened: at, limit, reason, while the breaker is open. Row * is for all targets together';
