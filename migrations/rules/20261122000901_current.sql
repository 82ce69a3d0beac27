-- Where there are more open incidents than fit a page, an index by phase has every writer at the same page at once.
DROP INDEX correlations_current;
CREATE INDEX correlations_current ON correlations (incident_id) WHERE phase IN ('open', 'failed');
