-- What people and gauges ask for again and again is rare among many incidents: without these they
-- would read the whole table.
CREATE INDEX incidents_attention ON incidents (opened_at, incident_id) WHERE needs_attention;
CREATE INDEX incidents_stubs ON incidents (incident_id) WHERE opened_at IS NULL;
