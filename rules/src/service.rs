//! What the shell needs of Rules: how a batch is loaded, folded through the domain, and saved.

use std::{collections::BTreeMap, sync::Arc};

use service_kit::{Error, Poison, Record, Saved, Service, Work};
use shared_events::{
    ActionEvent, AlertEvent, EventId, RuleEvent, Timestamp, Topic, TopicEvent, rule::RuleChanged,
};
use sqlx::PgConnection;

use crate::{
    active::ActiveRules,
    backtest::command,
    batch::Batch,
    changes::{Proposal, Proposed},
    domain::{Answer, Command, RuleSet, RulesLoaded, Timer},
    files::Sources,
    fold, load,
    metrics::Metrics,
    save,
    store::timers,
};

/// The Rule Engine.
#[derive(Debug, Default)]
pub struct RuleEngine {
    /// Compiled rule sets.
    pub rules: ActiveRules,
    pub(crate) metrics: Metrics,
    /// The rules come from the file: changes on the topic are noted only.
    pub file_rules: bool,
}

/// Something to be decided about.
#[derive(Clone, Debug)]
pub enum Input {
    Alert(Arc<AlertEvent>),
    /// `action.completed` or `action.failed`.
    Action(Arc<ActionEvent>),
    Timer(Timer),
    Command(Command),
    Activate(Arc<Activation>),
    /// `rule.changed`.
    Changed(Arc<RuleChanged>),
    Propose(Arc<Proposal>),
}

/// A rule set that is to become the active one.
#[derive(Debug)]
pub struct Activation {
    pub set: Arc<RuleSet>,
    pub sources: Sources,
    pub loaded: RulesLoaded,
    /// The activations before it: it is dropped when another came first.
    pub after: i64,
}

/// What callers get back, by the id of their work.
#[derive(Debug, Default)]
pub struct Reply {
    pub answers: BTreeMap<EventId, Answer>,
    /// The rule set was activated.
    pub activated: bool,
    pub proposed: BTreeMap<EventId, Proposed>,
}

impl Service for RuleEngine {
    const NAME: &'static str = "rules";
    const LISTENS: &'static [(&'static str, &'static [&'static str])] = &[
        (Topic::Alert.name(), AlertEvent::TYPES),
        (Topic::Action.name(), &["action.completed", "action.failed"]),
        (Topic::Rule.name(), RuleEvent::TYPES),
    ];
    const SAYS: &'static [(&'static str, &'static [&'static str])] = &[
        (Topic::Incident.name(), shared_events::IncidentEvent::TYPES),
        (
            Topic::Action.name(),
            &["action.requested", "target.paused", "target.resumed"],
        ),
        (Topic::Rule.name(), RuleEvent::TYPES),
    ];
    /// An outcome finds its action, and what follows a change of the rules its set, in the database.
    const ALONE: &'static [&'static str] = &[Topic::Action.name(), Topic::Rule.name()];
    type Input = Input;
    type Batch = Batch;
    type Reply = Reply;

    fn decode(&self, record: &Record<'_>) -> Result<Input, Poison> {
        match Topic::by_name(record.topic) {
            Some(Topic::Alert) => Ok(Input::Alert(Arc::new(record.event()?))),
            Some(Topic::Action) => Ok(Input::Action(Arc::new(without_nul(record.event()?)))),
            Some(Topic::Rule) => {
                let RuleEvent::Changed(change) = record.event()?;
                Ok(Input::Changed(Arc::new(change)))
            }
            Some(Topic::Incident | Topic::IncidentStatus) | None => Err(Poison {
                stage: "type",
                reason: format!("Rules do not listen to {}", record.topic),
            }),
        }
    }

    async fn load(
        &self,
        conn: &mut PgConnection,
        works: &mut Vec<Work<Input>>,
    ) -> Result<Batch, Error> {
        load::load(self, conn, works).await
    }

    fn fold(&self, batch: &mut Batch, work: &Work<Input>) -> Result<(), Poison> {
        fold::fold(batch, work);
        Ok(())
    }

    async fn save(&self, conn: &mut PgConnection, batch: Batch) -> Result<Saved<Reply>, Error> {
        self.metrics.decided(&batch.produced);
        save::save(conn, batch).await
    }

    fn as_of(&self, _moment: Option<Timestamp>) {
        // the rules of the dump are those of then: what the files say now comes later
        self.rules.looked();
    }

    async fn due(
        &self,
        conn: &mut PgConnection,
        moment: Timestamp,
    ) -> Result<Vec<Work<Input>>, Error> {
        let due = timers::due(conn, moment, None, 1).await?;
        let work = |(timer, trace): (Timer, _)| Work::local(timer.id, trace, Input::Timer(timer));
        Ok(due.into_iter().map(work).collect())
    }

    /// What people commanded is in no topic that Rules listen to; pauses can be told from what was
    /// said of them.
    fn recall(&self, record: &Record<'_>) -> Result<Option<(EventId, Input)>, Poison> {
        if Topic::by_name(record.topic) != Some(Topic::Action) {
            return Ok(None);
        }
        let event: ActionEvent = record.event()?;
        let command = command(&event);
        Ok(command.map(|command| (command_id(&command), Input::Command(command))))
    }
}

/// Words from a container may hold NUL characters, which Postgres refuses.
pub(crate) fn without_nul(mut event: ActionEvent) -> ActionEvent {
    let message = match &mut event {
        ActionEvent::Completed(action) => &mut action.message,
        ActionEvent::Failed(action) => &mut action.message,
        ActionEvent::Requested(action) => &mut action.reason,
        ActionEvent::Paused(pause) => &mut pause.reason,
        ActionEvent::Resumed(pause) => &mut pause.reason,
    };
    if message.contains('\0') {
        *message = message.replace('\0', "");
    }
    event
}

/// Id of a command.
pub(crate) fn command_id(command: &Command) -> EventId {
    let text = serde_json::to_string(command).unwrap_or_default();
    local_id(&["command", &text])
}

/// Id of an input that this service makes itself.
pub(crate) fn local_id(parts: &[&str]) -> EventId {
    EventId(shared_events::ids::derive(
        std::iter::once("rules").chain(parts.iter().copied()),
    ))
}

/// The event of a topic, by its key: what an input that belongs to no correlation is logged under.
pub(crate) fn topic_key(work: &Work<Input>) -> String {
    match &work.input {
        Input::Alert(alert) => alert.key(),
        Input::Action(action) => action.key(),
        Input::Timer(timer) => timer.key.clone(),
        Input::Command(command) => command_key(command),
        Input::Activate(_) | Input::Changed(_) | Input::Propose(_) => RULES_KEY.to_owned(),
    }
}

/// Key of the log under which rule changes are.
pub(crate) const RULES_KEY: &str = "(rules)";

fn command_key(command: &Command) -> String {
    use crate::domain::Verb;
    match &command.verb {
        Verb::Pause { target, .. } | Verb::Resume { target } | Verb::CloseLimit { target } => {
            target.clone()
        }
        Verb::Retry { incident_id } | Verb::Close { incident_id } => incident_id.to_string(),
    }
}
