//! Compiled rule sets, by hash. Which one is active is a row of the database; this is only where the
//! compiled form of it is kept.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use service_kit::{Error, Work};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;

use crate::{
    domain::{Policy, RuleSet},
    files::{self, Source, Sources},
    service::Input,
    store::rule_sets,
};

/// Compiled sets that are kept: the active one, and those that people ask about.
const KEPT: usize = 8;

/// Compiled rule sets.
#[derive(Debug)]
pub struct ActiveRules {
    /// The one asked for last is first.
    compiled: Mutex<Vec<Arc<RuleSet>>>,
    /// Targets and policy of this process, and the hash of its rules file.
    files: Mutex<Option<OwnFiles>>,
    /// Whether the files of this process were looked at: before that nothing is decided.
    looked: watch::Sender<bool>,
}

/// What this process read from its files.
#[derive(Clone, Debug)]
struct OwnFiles {
    targets: Source,
    policy: Policy,
    rules_hash: Option<String>,
}

impl Default for ActiveRules {
    fn default() -> Self {
        Self {
            compiled: Mutex::default(),
            files: Mutex::default(),
            looked: watch::Sender::new(false),
        }
    }
}

impl ActiveRules {
    /// The files were read, for better or worse: decide from now on with what is active.
    pub fn looked(&self) {
        self.looked.send_replace(true);
    }

    /// Remembers what this process read.
    pub(crate) fn remember(&self, targets: &Source, policy: Policy, rules: Option<&str>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        *files = Some(OwnFiles {
            targets: targets.clone(),
            policy,
            rules_hash: rules.map(files::content_hash),
        });
    }

    /// Hash of the rules file as this process read it last.
    pub(crate) fn file_hash(&self) -> Option<String> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.as_ref().and_then(|files| files.rules_hash.clone())
    }

    /// How long Action Runner may be silent beyond a deadline.
    pub(crate) fn action_grace(&self) -> TimeDelta {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.as_ref();
        files.map_or(TimeDelta::zero(), |files| files.policy.action_grace)
    }

    /// Targets and policy of this process.
    ///
    /// # Errors
    /// Class `Retry` while they were not read.
    pub(crate) fn base(&self) -> Result<(Source, Policy), Error> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.as_ref().ok_or_else(none_yet)?;
        Ok((files.targets.clone(), files.policy))
    }

    /// The set of this hash, in a transaction.
    pub(crate) async fn compiled_at(
        &self,
        conn: &mut PgConnection,
        hash: Option<&str>,
    ) -> Result<Option<Arc<RuleSet>>, Error> {
        match hash {
            None => Ok(None),
            Some(hash) => match self.kept(hash) {
                Some(set) => Ok(Some(set)),
                None => self.compile(conn, hash).await.map(Some),
            },
        }
    }

    /// The rule set of a batch: the active one, or the one that it activates.
    ///
    /// # Errors
    /// Class `Retry` while there is none.
    pub(crate) async fn at(
        &self,
        conn: &mut PgConnection,
        hash: Option<&str>,
        works: &[Work<Input>],
    ) -> Result<Arc<RuleSet>, Error> {
        let activated = works.iter().find_map(|work| match &work.input {
            Input::Activate(activation) => Some(Arc::clone(&activation.set)),
            Input::Alert(_)
            | Input::Action(_)
            | Input::Timer(_)
            | Input::Command(_)
            | Input::Changed(_)
            | Input::Propose(_) => None,
        });
        if let Some(set) = activated {
            return Ok(set);
        }
        match hash {
            Some(hash) if *self.looked.borrow() => match self.kept(hash) {
                Some(set) => Ok(set),
                None => self.compile(conn, hash).await,
            },
            Some(_) | None => Err(none_yet()),
        }
    }

    /// The active rule set, for readers.
    ///
    /// # Errors
    /// When the database fails, or no rules are loaded yet.
    pub async fn read(&self, pool: &PgPool) -> Result<Arc<RuleSet>, Error> {
        let hash = rule_sets::active(pool).await?.hash.ok_or_else(none_yet)?;
        self.of(pool, &hash).await
    }

    /// The rule set of this hash: a decision's.
    ///
    /// # Errors
    /// When the database fails, or this build cannot read the set.
    pub async fn of(&self, pool: &PgPool, hash: &str) -> Result<Arc<RuleSet>, Error> {
        if let Some(set) = self.kept(hash) {
            return Ok(set);
        }
        let mut conn = pool
            .acquire()
            .await
            .map_err(Error::database("connecting"))?;
        self.compile(&mut conn, hash).await
    }

    fn kept(&self, hash: &str) -> Option<Arc<RuleSet>> {
        let mut kept = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|set| set.hash == hash)?;
        kept[..=at].rotate_right(1);
        kept.first().cloned()
    }

    async fn compile(&self, conn: &mut PgConnection, hash: &str) -> Result<Arc<RuleSet>, Error> {
        let set = compiled(conn, hash).await?;
        let mut kept = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, Arc::clone(&set));
        kept.truncate(KEPT);
        Ok(set)
    }
}

async fn compiled(conn: &mut PgConnection, hash: &str) -> Result<Arc<RuleSet>, Error> {
    let stored = rule_sets::stored(conn, hash).await?.ok_or_else(none_yet)?;
    let set = in_background(stored.sources, stored.policy).await?;
    // another build may read the same text differently: it must not decide under this name
    match set {
        Ok(set) if set.hash == hash => Ok(Arc::new(set)),
        Ok(set) => Err(unreadable(
            hash,
            &format!("this build takes it for {}", set.hash),
        )),
        Err(error) => Err(unreadable(hash, &error.to_string())),
    }
}

/// Compiles away from the threads that serve.
pub(crate) async fn in_background(
    sources: Sources,
    policy: Policy,
) -> Result<Result<RuleSet, files::Error>, Error> {
    tokio::task::spawn_blocking(move || files::compile(&sources, policy))
        .await
        .map_err(|_| Error::Panic {
            task: "compiling rules".into(),
        })
}

/// Of class `Retry`: the rules come when somebody repairs the file.
pub(crate) fn none_yet() -> Error {
    Error::database("no rules are loaded yet")(sqlx::Error::RowNotFound)
}

fn unreadable(hash: &str, why: &str) -> Error {
    let doing = format!("the active rule set {hash} was loaded by another build: {why}");
    Error::database(doing)(sqlx::Error::RowNotFound)
}
