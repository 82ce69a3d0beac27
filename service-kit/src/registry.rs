//! The schema registry: for other people's tools. Our own guarantees do not hang on it.
//!
//! Ids are kept in table `schema_ids` after the first registration, and our readers decode with
//! the compiled-in schemas that the header `ce_dataschema` names. Only a record that was written
//! by a build with other schemas than ours makes a consumer ask the registry.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use reqwest::StatusCode;
use schema_registry_converter::{
    async_impl::schema_registry::{SrSettings, post_schema},
    schema_registry_common::{SchemaType, SuppliedSchema},
};
use serde::Deserialize;
use shared_events::codec::{self, Contract, Writer};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Poison,
    database::in_time,
    error::chain,
    pace::{Backoff, wait},
};

/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Old and new readers and writers run side by side, and the log is kept for ever.
const LEVEL: &str = "FULL_TRANSITIVE";
/// How often a lost registry is refilled.
const REFILL: Duration = Duration::from_secs(300);
/// Schemas of other builds that are kept; far more than there are versions.
const WRITERS: usize = 1024;

/// A registry that speaks the Confluent API, and the ids that it gave. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    url: String,
    http: reqwest::Client,
    settings: SrSettings,
    pool: PgPool,
    /// By `ce_dataschema`.
    ids: RwLock<HashMap<String, u32>>,
    /// Number of known ids; a change wakes who waits for one.
    known: watch::Sender<usize>,
    writers: Mutex<HashMap<u32, Writer>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the url may hold a password
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// The registry at `url` (the base that `/subjects` follows), with the ids in `pool`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str, pool: PgPool) -> Result<Self, Error> {
        let url = url.trim_end_matches('/').to_owned();
        let unusable = |reason: String| Error::Setting {
            name: "registry url",
            reason,
        };
        let builder = || reqwest::Client::builder().connect_timeout(Duration::from_secs(3));
        let http = builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| unusable(chain(&error)))?;
        let settings = SrSettings::new_builder(url.clone())
            .set_timeout(PATIENCE)
            .build_with(builder())
            .map_err(|error| unusable(chain(&error)))?;
        Ok(Self(Arc::new(Inner {
            url,
            http,
            settings,
            pool,
            ids: RwLock::default(),
            known: watch::Sender::new(0),
            writers: Mutex::default(),
        })))
    }

    /// Reads the ids of earlier registrations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(&self) -> Result<(), Error> {
        let reading = async {
            sqlx::query!("SELECT record, fingerprint, registry_id FROM schema_ids")
                .fetch_all(&self.0.pool)
                .await
                .map_err(Error::database("reading schema ids"))
        };
        for row in in_time("reading schema ids", reading).await? {
            // a negative id is nothing that a registry gave
            if let Ok(id) = u32::try_from(row.registry_id) {
                self.know(format!("{}/{}", row.record, row.fingerprint), id);
            }
        }
        Ok(())
    }

    /// Id of the schema that `ce_dataschema` names, if it was ever registered.
    #[must_use]
    pub fn id(&self, dataschema: &str) -> Option<u32> {
        let ids = self.0.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.get(dataschema).copied()
    }

    /// Id to frame a datum with: [`id`](Self::id), or 0, which no registry gives, for a schema of an
    /// earlier build that was never registered although the record's present one is. Our readers go
    /// by `ce_dataschema`; others fail instead of misreading it.
    #[must_use]
    pub fn id_to_write(&self, dataschema: &str) -> Option<u32> {
        let ids = self.0.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.get(dataschema).copied().or_else(|| {
            let (record, _) = dataschema.rsplit_once('/')?;
            let mut names = ids.keys().filter_map(|name| name.rsplit_once('/'));
            names.any(|(found, _)| found == record).then_some(0)
        })
    }

    /// Like [`id`](Self::id), but waits for the first registration.
    pub async fn id_of(&self, dataschema: &str) -> u32 {
        let mut known = self.known();
        loop {
            if let Some(id) = self.id(dataschema) {
                return id;
            }
            known.changed().await.expect("the sender lives in self");
        }
    }

    /// Changes when a further id becomes known.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<usize> {
        self.0.known.subscribe()
    }

    fn know(&self, dataschema: String, id: u32) {
        let mut ids = self.0.ids.write().unwrap_or_else(PoisonError::into_inner);
        ids.insert(dataschema, id);
        let count = ids.len();
        drop(ids);
        self.0.known.send_replace(count);
    }

    /// Registers `contracts`, retrying for ever, and again every five minutes: a registry that lost its
    /// storage is refilled. Returns when `stop` is cancelled.
    pub async fn keep(&self, contracts: &[&'static Contract], stop: &CancellationToken) {
        // nothing is sent before the first registration: a registry that is back is found soon
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let mut failing = false;
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.register(contracts) => outcome,
            };
            let pause = match outcome {
                Ok(()) => {
                    backoff.reset();
                    failing = false;
                    REFILL
                }
                Err(error) => {
                    // once a minute says enough while the registry is away
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(error = chain(&error), "schemas are not registered yet");
                    }
                    backoff.next_delay()
                }
            };
            if wait(pause, stop).await.is_err() {
                return;
            }
        }
    }

    /// Registers each contract under its record name, with its compatibility level.
    ///
    /// # Errors
    /// When the registry or the database fails; what was registered by then is kept.
    pub async fn register(&self, contracts: &[&'static Contract]) -> Result<(), Error> {
        for contract in contracts {
            let supplied = SuppliedSchema::new(
                Some(contract.record.clone()),
                SchemaType::Avro,
                contract.text.to_owned(),
            );
            let registered = post_schema(&self.0.settings, contract.record.clone(), supplied)
                .await
                .map_err(|error| refused(format!("registering {}", contract.record), &error))?;
            self.set_level(&contract.record).await?;
            if self.id(&contract.dataschema()) != Some(registered.id) {
                self.store(contract, registered.id).await?;
                tracing::info!(
                    record = contract.record,
                    id = registered.id,
                    "schema registered"
                );
            }
        }
        Ok(())
    }

    async fn set_level(&self, subject: &str) -> Result<(), Error> {
        if self.level(subject).await?.as_deref() == Some(LEVEL) {
            return Ok(());
        }
        let doing = format!("setting the compatibility level of {subject}");
        let response = self
            .0
            .http
            .put(format!("{}/config/{subject}", self.0.url))
            .json(&serde_json::json!({ "compatibility": LEVEL }))
            .send()
            .await
            .map_err(|error| refused(doing.clone(), &error))?;
        // another service sets the same level at the same time: look whether it has
        if response.status() == StatusCode::CONFLICT
            && self.level(subject).await?.as_deref() == Some(LEVEL)
        {
            return Ok(());
        }
        response
            .error_for_status()
            .map(drop)
            .map_err(|error| refused(doing, &error))
    }

    /// The level of the subject itself; `None`: it has none of its own.
    async fn level(&self, subject: &str) -> Result<Option<String>, Error> {
        let doing = format!("reading the compatibility level of {subject}");
        let response = self
            .0
            .http
            .get(format!("{}/config/{subject}", self.0.url))
            .send()
            .await
            .map_err(|error| refused(doing.clone(), &error))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let config: Config = response
            .error_for_status()
            .map_err(|error| refused(doing.clone(), &error))?
            .json()
            .await
            .map_err(|error| refused(doing, &error))?;
        Ok(Some(config.compatibility_level))
    }

    async fn store(&self, contract: &Contract, id: u32) -> Result<(), Error> {
        let registry_id =
            i32::try_from(id).map_err(|error| refused("storing an id".into(), &error))?;
        let storing = async {
            sqlx::query!(
                "INSERT INTO schema_ids (record, fingerprint, registry_id) VALUES ($1, $2, $3)
             ON CONFLICT (record, fingerprint) DO UPDATE SET registry_id = excluded.registry_id",
                contract.record,
                contract.fingerprint,
                registry_id
            )
            .execute(&self.0.pool)
            .await
            .map_err(Error::database("storing a schema id"))
        };
        in_time("storing a schema id", storing).await?;
        self.know(contract.dataschema(), id);
        Ok(())
    }

    /// The schema of a datum: compiled in, else from the registry.
    ///
    /// # Errors
    /// Class `Retry` while the registry does not answer; [`Error::Poison`] when it knows no such
    /// schema or gives none that can be read.
    pub async fn writer(&self, dataschema: &str, schema_id: u32) -> Result<Writer, Error> {
        match codec::writer(dataschema) {
            Some(writer) => Ok(writer),
            None => self.fetched(schema_id).await,
        }
    }

    async fn fetched(&self, id: u32) -> Result<Writer, Error> {
        if let Some(writer) = self.writers().get(&id) {
            return Ok(writer.clone());
        }
        let writer = self.fetch(id).await?;
        let mut writers = self.writers();
        if writers.len() >= WRITERS {
            writers.clear();
        }
        writers.insert(id, writer.clone());
        Ok(writer)
    }

    fn writers(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Writer>> {
        self.0
            .writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    // Not get_schema_by_id of the library: its error does not tell 404 from 500 or a time-out.
    async fn fetch(&self, id: u32) -> Result<Writer, Error> {
        let doing = format!("fetching schema {id}");
        let poison = |reason: String| {
            Error::Poison(Poison {
                stage: "schema",
                reason,
            })
        };
        let response = self
            .0
            .http
            .get(format!("{}/schemas/ids/{id}?deleted=true", self.0.url))
            .send()
            .await
            .map_err(|error| refused(doing.clone(), &error))?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(poison(format!("the registry has no schema {id}")));
        }
        let fetched: Fetched = response
            .error_for_status()
            .map_err(|error| refused(doing.clone(), &error))?
            .json()
            .await
            .map_err(|error| refused(doing, &error))?;
        Writer::parse(&fetched.schema).map_err(|error| poison(chain(&error)))
    }
}

/// Body of `GET /config/{subject}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    compatibility_level: String,
}

/// Body of `GET /schemas/ids/{id}`.
#[derive(Deserialize)]
struct Fetched {
    schema: String,
}

fn refused(doing: String, error: &dyn std::error::Error) -> Error {
    Error::Registry {
        doing: doing.into(),
        reason: chain(error),
    }
}
