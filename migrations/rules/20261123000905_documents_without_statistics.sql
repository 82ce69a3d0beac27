-- No plan asks what is in these documents, and analysing them (each is taken apart and sorted, of 30,000
-- rows, whenever a tenth of a table has changed) cost more than all other columns together.
ALTER TABLE decisions_log
    ALTER COLUMN detail SET STATISTICS 0,
    ALTER COLUMN read SET STATISTICS 0,
    ALTER COLUMN outcomes SET STATISTICS 0,
    ALTER COLUMN emitted SET STATISTICS 0,
    ALTER COLUMN annotations SET STATISTICS 0,
    ALTER COLUMN emitted_types SET STATISTICS 0;
ALTER TABLE correlations
    ALTER COLUMN sequences SET STATISTICS 0,
    ALTER COLUMN memory SET STATISTICS 0;
ALTER TABLE series ALTER COLUMN labels SET STATISTICS 0;
