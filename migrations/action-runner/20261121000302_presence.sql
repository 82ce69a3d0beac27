-- The lease of an instance that is gone need not run out: each live instance holds an advisory lock of
-- its own for as long as its session lasts.
ALTER TABLE targets ADD COLUMN lease_instance uuid;
COMMENT ON COLUMN targets.lease_instance IS 'instance of the process that holds the lease: nobody holds its advisory lock when it is gone';
