//! What a service's handlers and workers use, and what it hands to the kit.

use std::sync::Arc;

use shared_events::{EventId, Timestamp};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Health, KitArgs, Metrics, Poison, Service, Work, Worker,
    batch::{self, Handled, Handler, Intake},
    consumer::Watermarks,
    database::{self, Pools},
    http::OpenApiRouter,
    kafka::Cluster,
    relay::Relay,
};

/// What handlers and workers use. Cheap to clone.
pub struct Kit<S: Service>(pub(crate) Arc<Inner<S>>);

pub(crate) struct Inner<S: Service> {
    pub(crate) handler: Handler<S>,
    pub(crate) pools: Pools,
    pub(crate) args: KitArgs,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    pub(crate) relay: Relay,
    pub(crate) watermarks: Watermarks,
}

impl<S: Service> Clone for Kit<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Service> std::fmt::Debug for Kit<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kit")
            .field("service", &S::NAME)
            .field("args", &self.0.args)
            .finish_non_exhaustive()
    }
}

impl<S: Service> Kit<S> {
    /// The service's database. Reads may use it directly; writes go through
    /// [`handle`](Self::handle) or [`in_tx`](crate::tx::in_tx).
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.0.pools.others
    }

    /// The service itself.
    #[must_use]
    pub fn service(&self) -> &S {
        &self.0.handler.service
    }

    /// For a service's own metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// For a service's own checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Cancelled when the service must stop: workers and streams end then.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// Settings of the kit.
    #[must_use]
    pub fn args(&self) -> &KitArgs {
        &self.0.args
    }

    /// What this service is called in Kafka.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.0.relay.cluster
    }

    /// How far topics reach, and whether this service has come that far.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        &self.0.watermarks
    }

    /// Service, pool, source and bell, as [`batch::handle`] takes them.
    #[must_use]
    pub fn handler(&self) -> &Handler<S> {
        &self.0.handler
    }

    /// Handles inputs that did not come from a topic, in one transaction. It runs to its end even
    /// if the caller is dropped.
    ///
    /// # Errors
    /// As [`batch::handle`]. Class `Retry`: nothing happened, or the outcome of the commit is
    /// unknown.
    pub async fn handle(&self, works: Vec<Work<S::Input>>) -> Result<Handled<S::Reply>, Error> {
        let no_letter = |_: EventId, _: &Poison| None;
        batch::handle(&self.0.handler, Intake::local(works), Arc::new(no_letter)).await
    }

    /// Refuses while more events wait for Kafka than the setting allows. To be asked before
    /// anything new is accepted from outside.
    ///
    /// # Errors
    /// [`Error::OutboxFull`].
    pub fn has_room(&self) -> Result<(), Error> {
        let (depth, limit) = (self.0.relay.metrics.depth.get(), self.0.args.outbox_limit);
        if depth > limit {
            return Err(Error::OutboxFull { depth, limit });
        }
        Ok(())
    }

    /// The database's clock, which goes on within a transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn database_now(&self, connection: &mut PgConnection) -> Result<Timestamp, Error> {
        database::now(connection).await
    }
}

/// What a service adds to the kit.
#[derive(Default)]
pub struct Parts {
    /// Its API. A plain `axum::Router` becomes one with `.into()`.
    pub router: OpenApiRouter,
    /// What runs beside its requests.
    pub workers: Vec<Worker>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
