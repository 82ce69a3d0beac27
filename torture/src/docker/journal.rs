//! The journal of what happens to the containers that are scaled, over restarts of their engine.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use bollard::{
    Docker,
    models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage},
    query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder},
};
use chrono::Utc;
use futures::StreamExt;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::PROJECT;
use crate::checker::evidence::Change;

/// Between two attempts to reach an engine that is away.
const AGAIN: Duration = Duration::from_millis(100);

/// What happens to the containers of some projects, while it lives.
///
/// An engine that dies tells nobody that its containers ended, and one that starts has forgotten its
/// events. What changed meanwhile is found by comparing what is there with what was: a container that
/// was created and removed again about the moment of a death or a start is missed, and so is the end
/// of one that the engine started again.
#[derive(Debug)]
pub struct Journal {
    book: Arc<Book>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Book {
    /// Names of targets by Compose project.
    targets: BTreeMap<String, String>,
    pages: Mutex<Pages>,
    /// Whether the engine tells what happens.
    listening: AtomicBool,
}

#[derive(Debug, Default)]
struct Pages {
    changes: Vec<Change>,
    /// The containers that are there, by id; whether they run.
    there: HashMap<String, (Change, bool)>,
}

impl Journal {
    /// Begins to write; `targets`: names by project.
    #[must_use]
    pub fn begin(docker: &Docker, targets: BTreeMap<String, String>) -> Self {
        let book = Arc::new(Book {
            targets,
            pages: Mutex::default(),
            listening: AtomicBool::new(false),
        });
        let (docker, written) = (docker.clone(), Arc::clone(&book));
        let task = tokio::spawn(async move {
            loop {
                // It ends with the engine.
                drop(written.listen(&docker).await);
                written.listening.store(false, Ordering::SeqCst);
                sleep(AGAIN).await;
            }
        });
        Self {
            book,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Until now, in order.
    ///
    /// # Errors
    /// The engine is away: what happened since is not known.
    pub fn changes(&self) -> Result<Vec<Change>> {
        ensure!(
            self.book.listening.load(Ordering::SeqCst),
            "the Docker engine does not tell its events"
        );
        let pages = self.book.pages.lock().expect("no writer panics");
        Ok(pages.changes.clone())
    }
}

impl Book {
    /// Takes in what is there, then what happens, until the engine is away.
    async fn listen(&self, docker: &Docker) -> Result<(), bollard::errors::Error> {
        let kinds = ["create", "start", "die", "destroy"].map(str::to_owned);
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("event", kinds.to_vec()),
        ]);
        let options = EventsOptionsBuilder::default()
            // To the nanosecond: whole seconds would let in what was created just before.
            .since(&Utc::now().format("%s.%f").to_string())
            .filters(&filters)
            .build();
        let mut events = docker.events(Some(options)).boxed();
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let there = docker.list_containers(Some(all)).await?;
        let at = Utc::now().timestamp_nanos_opt().unwrap_or_default();
        self.compare(there, at);
        self.listening.store(true, Ordering::SeqCst);
        while let Some(event) = events.next().await {
            let event = event?;
            if let Some(change) = self.happened(event) {
                self.pages.lock().expect("no writer panics").write(change);
            }
        }
        Ok(())
    }

    fn happened(&self, event: EventMessage) -> Option<Change> {
        let actor = event.actor?;
        let labels = actor.attributes.unwrap_or_default();
        let name = labels.get("name").cloned().unwrap_or_default();
        let mut change = self.of(&labels, actor.id.unwrap_or_default(), name)?;
        change.at = event.time_nano.unwrap_or_default();
        change.what = event.action.unwrap_or_default();
        Some(change)
    }

    fn of(&self, labels: &HashMap<String, String>, id: String, name: String) -> Option<Change> {
        Some(Change {
            at: 0,
            what: String::new(),
            id,
            name,
            target: labels
                .get(PROJECT)
                .and_then(|p| self.targets.get(p))?
                .clone(),
            managed: labels
                .get("eventpulse.managed")
                .is_some_and(|v| v == "true"),
            epoch: labels.get("eventpulse.epoch").and_then(|v| v.parse().ok()),
        })
    }

    /// Writes down what changed while nobody told: removals first, since names come again.
    fn compare(&self, there: Vec<ContainerSummary>, at: i64) {
        let found: BTreeMap<String, (Change, bool)> = there
            .into_iter()
            .filter_map(|container| self.found(container))
            .map(|(change, runs)| (change.id.clone(), (change, runs)))
            .collect();
        let mut pages = self.pages.lock().expect("no writer panics");
        let known = pages.there.clone();
        let mut write = |change: &Change, what: &str| {
            pages.write(Change {
                at,
                what: what.to_owned(),
                ..change.clone()
            });
        };
        for (change, ran) in known.values() {
            match found.get(&change.id) {
                None => write(change, "destroy"),
                Some((_, false)) if *ran => write(change, "die"),
                Some(_) => {}
            }
        }
        for (change, runs) in found.values() {
            let ran = known.get(&change.id).map(|(_, ran)| *ran);
            if ran.is_none() {
                write(change, "create");
            }
            if *runs && ran != Some(true) {
                write(change, "start");
            }
        }
    }

    fn found(&self, container: ContainerSummary) -> Option<(Change, bool)> {
        let labels = container.labels.unwrap_or_default();
        let name = container.names.unwrap_or_default().join(",");
        let name = name.trim_start_matches('/').to_owned();
        let change = self.of(&labels, container.id.unwrap_or_default(), name)?;
        Some((
            change,
            container.state == Some(ContainerSummaryStateEnum::RUNNING),
        ))
    }
}

impl Pages {
    /// What is known already is not written again.
    fn write(&mut self, change: Change) {
        let known = self.there.get_mut(&change.id);
        match (&*change.what, known) {
            ("create", None) => {
                self.there
                    .insert(change.id.clone(), (change.clone(), false));
            }
            ("start", Some((_, runs))) if !*runs => *runs = true,
            ("die", Some((_, runs))) if *runs => *runs = false,
            ("destroy", Some(_)) => drop(self.there.remove(&change.id)),
            _ => return,
        }
        self.changes.push(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, name: &str, state: ContainerSummaryStateEnum) -> ContainerSummary {
        let labels = [(PROJECT, "p"), ("eventpulse.managed", "true")];
        ContainerSummary {
            id: Some(id.to_owned()),
            names: Some(vec![format!("/{name}")]),
            labels: Some(HashMap::from(
                labels.map(|(name, value)| (name.to_owned(), value.to_owned())),
            )),
            state: Some(state),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn what_changed_while_the_engine_was_away_is_found() {
        let book = Book {
            targets: BTreeMap::from([("p".to_owned(), "app".to_owned())]),
            pages: Mutex::default(),
            listening: AtomicBool::new(false),
        };
        let (runs, ended) = (
            ContainerSummaryStateEnum::RUNNING,
            ContainerSummaryStateEnum::EXITED,
        );
        book.compare(
            vec![
                summary("1", "a", runs),
                summary("2", "b", runs),
                summary("3", "c", runs),
            ],
            1,
        );
        // the engine dies: 1 comes back, 2 has ended, 3 was removed and its name given again
        book.compare(
            vec![
                summary("1", "a", runs),
                summary("2", "b", ended),
                summary("4", "c", runs),
            ],
            2,
        );
        let pages = book.pages.lock().expect("no writer panics");
        let later: Vec<(&str, &str)> = pages
            .changes
            .iter()
            .filter(|change| change.at == 2)
            .map(|change| (&*change.what, &*change.id))
            .collect();
        let place = |change| later.iter().position(|seen| *seen == change);
        assert_eq!(later.len(), 4, "{later:?}");
        assert!(place(("die", "2")).is_some(), "{later:?}");
        assert!(
            place(("destroy", "3")) < place(("create", "4")),
            "{later:?}"
        );
        assert!(place(("create", "4")) < place(("start", "4")), "{later:?}");
        assert!(place(("destroy", "3")).is_some(), "{later:?}");
    }
}
