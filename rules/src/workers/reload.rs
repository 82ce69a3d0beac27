//! Reads the rule and target files: at start, by SIGHUP, and when somebody posts `/-/reload`. A file
//! that is not valid is an error with its place; the last good rules stay.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use service_kit::{Error, Kit, Trace, Work, Worker};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

use super::seed;
use crate::{
    active,
    config::Config,
    domain::{Policy, RuleSet, RulesLoaded},
    files::{self, Source, Sources},
    service::{Activation, Input, RuleEngine, local_id},
    store::{rule_changes, rule_sets},
};

/// How the check is called in `/readyz`.
const CHECK: &str = "rules";

/// Where the rules come from.
#[derive(Clone, Debug)]
pub(crate) struct Reloader {
    rules_file: PathBuf,
    targets_file: PathBuf,
    policy: Policy,
    /// It is known whether topic `rule` holds rules.
    begun: Arc<AtomicBool>,
    /// One at a time.
    turn: Arc<Mutex<()>>,
}

/// What became of a reload.
#[derive(Clone, Debug)]
pub(crate) struct Reloaded {
    pub(crate) set: Arc<RuleSet>,
    /// They were active already.
    pub(crate) unchanged: bool,
    /// Why the rules file was left alone, and how to apply it.
    pub(crate) ignored: Option<String>,
}

/// What the files are.
struct Read {
    set: Arc<RuleSet>,
    sources: Sources,
    ignored: Option<String>,
}

/// What to tell of a rules file that differs from the rules in force.
fn ignored(file: Option<&Source>, in_force: Option<&rule_changes::File>) -> Option<String> {
    let (file, in_force) = (file?, in_force?);
    (files::content_hash(&file.text) != in_force.hash).then(|| {
        format!(
            "{} differs from the rules in force (change {}) and was left alone: rules come from topic `rule`. Apply it with `eventpulse rules apply {} --reason ..` or PUT /api/v1/rules, or set EVENTPULSE_RULES_SOURCE=file",
            file.name, in_force.number, file.name
        )
    })
}

/// Why the rules stay as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file is not valid; `running` says what stays.
    #[error("{fault}. {running}")]
    Files { fault: String, running: String },
    #[error(transparent)]
    Kit(#[from] Error),
}

impl Reloader {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            rules_file: config.rules_file.clone(),
            targets_file: config.targets_file.clone(),
            policy: config.policy()?,
            begun: Arc::default(),
            turn: Arc::default(),
        })
    }

    /// Reads the files and makes them the active rules, of every instance.
    pub(crate) async fn reload(&self, kit: &Kit<RuleEngine>) -> Result<Reloaded, Failure> {
        if !self.begun.load(Ordering::Relaxed) {
            return Err(Failure::Kit(active::none_yet()));
        }
        let _turn = self.turn.lock().await;
        let outcome = match self.compiled(kit).await? {
            Ok(read) => self.activate(kit, read).await,
            Err(error) => Err(self.stays(kit, &error).await?),
        };
        match &outcome {
            Ok(reloaded) => report(kit, reloaded),
            Err(failure) => {
                kit.service().metrics.not_loaded();
                tracing::error!(error = %failure, "rules not loaded");
            }
        }
        outcome
    }

    /// The files; of the rules the one in force, when a topic says which.
    async fn compiled(&self, kit: &Kit<RuleEngine>) -> Result<Result<Read, files::Error>, Error> {
        let in_force = match kit.service().file_rules {
            true => None,
            false => rule_changes::in_force(kit.pool()).await?,
        };
        let (rules, targets) = (self.rules_file.clone(), self.targets_file.clone());
        let has_rules = in_force.is_some();
        let read = move || {
            let rules = match Source::read(&rules) {
                Err(_) if has_rules => None,
                read => Some(read?),
            };
            Ok((rules, Source::read(&targets)?))
        };
        let read = tokio::task::spawn_blocking(read);
        let (file, targets) = match read.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(_) => {
                let task = "reading rules".into();
                return Err(Error::Panic { task });
            }
        };
        let ignored = ignored(file.as_ref(), in_force.as_ref());
        let text = file.as_ref().map(|file| file.text.clone());
        let rules = match in_force {
            Some(change) => Source {
                name: format!("rules.yaml of change {}", change.number),
                text: change.content,
            },
            None => file.unwrap_or_else(|| Source {
                name: self.rules_file.display().to_string(),
                text: String::new(),
            }),
        };
        let sources = Sources { rules, targets };
        kit.service()
            .rules
            .remember(&sources.targets, self.policy, text.as_deref());
        let set = active::in_background(sources.clone(), self.policy).await?;
        Ok(set.map(|set| Read {
            set: Arc::new(set),
            sources,
            ignored,
        }))
    }

    async fn activate(&self, kit: &Kit<RuleEngine>, read: Read) -> Result<Reloaded, Failure> {
        let Read {
            set,
            sources,
            ignored,
        } = read;
        loop {
            let mut conn = kit
                .pool()
                .acquire()
                .await
                .map_err(Error::database("connecting"))?;
            let active = rule_sets::active(&mut *conn).await?;
            if active.hash.as_deref() == Some(&set.hash) {
                let unchanged = true;
                return Ok(Reloaded {
                    set,
                    unchanged,
                    ignored,
                });
            }
            let activation = Activation {
                loaded: RulesLoaded {
                    at: kit.database_now(&mut conn).await?,
                    hash: set.hash.clone(),
                    rules: set.rules.len(),
                    before: active.hash,
                    change: None,
                    fault: None,
                },
                set: Arc::clone(&set),
                sources: sources.clone(),
                after: active.activation,
            };
            drop(conn);
            let id = local_id(&["activation", &set.hash, &activation.after.to_string()]);
            let input = Input::Activate(Arc::new(activation));
            let work = Work::local(id, Trace::current(), input);
            if kit.handle(vec![work]).await?.reply.activated {
                let unchanged = false;
                return Ok(Reloaded {
                    set,
                    unchanged,
                    ignored,
                });
            }
        }
    }

    /// Waits, where nothing is active yet, until it is known whether topic `rule` holds rules; false
    /// when the service stops.
    async fn may_begin(&self, kit: &Kit<RuleEngine>) -> Result<bool, Error> {
        if kit.service().file_rules || rule_sets::active(kit.pool()).await?.hash.is_some() {
            return Ok(true);
        }
        // what the fold of a change needs, should there be one
        if let Err(error) = self.compiled(kit).await? {
            self.stays(kit, &error).await?;
        } else {
            let waiting = "waits to know what topic rule holds";
            kit.health().report(CHECK, Err::<String, _>(waiting));
        }
        seed::topic_known(kit).await
    }

    /// The failure of invalid files, with what goes on being active.
    async fn stays(&self, kit: &Kit<RuleEngine>, error: &files::Error) -> Result<Failure, Error> {
        let active = rule_sets::active(kit.pool()).await?.hash;
        let at = rule_sets::loaded_at(kit.pool()).await?;
        let running = match (active, at) {
            (Some(hash), Some(at)) => {
                let (version, at) = (&hash[..4.min(hash.len())], at.format("%F %R"));
                let line = format!("Still running version {version} (loaded {at} UTC)");
                kit.health()
                    .report(CHECK, Ok::<_, String>(format!("{error}. {line}")));
                line
            }
            (Some(_) | None, _) => {
                kit.health()
                    .report(CHECK, Err::<String, _>(error.to_string()));
                "No rules are loaded: nothing is decided until the file is right".to_owned()
            }
        };
        Ok(Failure::Files {
            fault: service_kit::error::chain(error),
            running,
        })
    }
}

fn report(kit: &Kit<RuleEngine>, reloaded: &Reloaded) {
    let set = &reloaded.set;
    let detail = format!("{} rules of version {}", set.rules.len(), &set.hash[..8]);
    kit.service().metrics.loaded(set.rules.len());
    if let Some(why) = &reloaded.ignored {
        tracing::warn!("{why}");
    }
    tracing::info!(
        version = set.hash,
        rules = set.rules.len(),
        unchanged = reloaded.unchanged,
        "rules loaded"
    );
    kit.health().report(CHECK, Ok::<_, String>(detail));
}

/// Loads at start and by SIGHUP.
pub(super) fn worker(kit: &Kit<RuleEngine>, reloader: &Reloader) -> Worker {
    kit.health().gate(CHECK);
    let (kit, reloader) = (kit.clone(), reloader.clone());
    Worker::new("reload", move || {
        let (kit, reloader) = (kit.clone(), reloader.clone());
        async move {
            let mut hangups = signal(SignalKind::hangup()).map_err(|source| Error::Io {
                doing: "listening for SIGHUP".into(),
                source,
            })?;
            loop {
                if !reloader.may_begin(&kit).await? {
                    return Ok(());
                }
                reloader.begun.store(true, Ordering::Relaxed);
                match reloader.reload(&kit).await {
                    Ok(_) | Err(Failure::Files { .. }) => kit.service().rules.looked(),
                    Err(Failure::Kit(error)) => return Err(error),
                }
                tokio::select! {
                    () = kit.shutdown().cancelled() => return Ok(()),
                    _ = hangups.recv() => tracing::info!("SIGHUP: reading the rules again"),
                }
            }
        }
    })
}
