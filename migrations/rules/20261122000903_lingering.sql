-- An incident may be closed while an alert of it fires: when the rules change, that alert belongs to it still.
ALTER TABLE correlations ADD COLUMN lingers boolean NOT NULL DEFAULT false;
UPDATE correlations SET lingers = true
WHERE phase = 'closed'
  AND (jsonb_path_exists(memory, '$.incident.alerts[*] ? (@.firing == true)')
       OR jsonb_path_exists(memory, '$.over[*] ? (@.fires == true)'));
CREATE INDEX correlations_lingering ON correlations (incident_id) WHERE lingers;
COMMENT ON COLUMN correlations.lingers IS 'its latest incident is closed, and an alert fires on that belonged to an incident of it';
