//! Tables that grow with every alert are analysed again and again while they do.

use anyhow::{Result, ensure};
use eventpulse_tests::{Stack, stack::Setup};

/// Documents of such tables that the server analyses.
const ANALYSED: &str = "
    SELECT relname || '.' || attname
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relname = ANY ($1) AND atttypid = 'jsonb'::regtype AND NOT attisdropped
      AND attstattarget IS DISTINCT FROM 0
    ORDER BY 1";

#[tokio::test]
async fn documents_of_large_tables_are_not_analysed() -> Result<()> {
    let stack = Stack::start(&Setup::default()).await?;
    for (database, tables) in [
        (&stack.databases.ingest, &["alerts"][..]),
        (
            &stack.databases.rules,
            &["decisions_log", "correlations", "series"],
        ),
        (&stack.databases.store, &["incidents", "incident_events"]),
    ] {
        let there: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relname = ANY ($1)")
                .bind(tables)
                .fetch_one(&database.pool)
                .await?;
        ensure!(
            usize::try_from(there)? == tables.len(),
            "{tables:?}: {there} found"
        );
        let analysed: Vec<String> = sqlx::query_scalar(ANALYSED)
            .bind(tables)
            .fetch_all(&database.pool)
            .await?;
        ensure!(analysed.is_empty(), "SET STATISTICS 0 on {analysed:?}");
    }
    Ok(())
}
