-- What an alert said may be kept under a key whose incident it does not hold: only its end matters there.
ALTER TABLE strays ADD COLUMN holds boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN strays.episode_id IS 'fired when the rules changed, and belonged to a correlation: later rules may see it elsewhere';
COMMENT ON COLUMN strays.holds IS 'true: it is in the incident there, and stays in it; false: only its end is heard there';
UPDATE correlations SET lingers = true WHERE phase = 'closed' AND memory -> 'evidence' <> '{}';
