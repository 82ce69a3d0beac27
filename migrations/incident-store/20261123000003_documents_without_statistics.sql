-- No plan asks what is in these documents, and analysing them cost more than the other columns.
ALTER TABLE incidents
    ALTER COLUMN labels SET STATISTICS 0,
    ALTER COLUMN alerts SET STATISTICS 0;
ALTER TABLE incident_events ALTER COLUMN data SET STATISTICS 0;
