//! `when`: a CEL condition of a rule.
//!
//! CEL here is compiled when a rule file is loaded, never for an event, and its text is bounded
//! before it is parsed: the parser has no budget of its own and recurses deeply. Compile on a
//! thread with a large stack. Evaluation is bounded by what [`condition_check`](super::condition_check)
//! lets through.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program, Value};
use serde::{Serialize, Serializer};
use shared_events::{Labels, Timestamp};

use super::condition_check::{self, Read};
pub use super::{condition_check::VARIABLES, condition_steps::Step};

/// Longest text, bytes.
pub const MAX_BYTES: usize = 2048;
/// Deepest nesting of brackets.
pub const MAX_NESTING: usize = 8;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    source: String,
    program: Arc<Program>,
    reads: Arc<[Read]>,
}

/// What a condition sees. There is no `now`.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub labels: &'a Labels,
    pub annotations: &'a Labels,
    pub at: Timestamp,
    pub occurrence: i64,
    /// Known replicas of the target of the rule's action, if there is one.
    pub replicas: Option<i32>,
}

/// Why a text is no condition.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the condition has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
    #[error("brackets nest deeper than {MAX_NESTING}")]
    TooDeep,
    #[error("not CEL: {0}")]
    Syntax(String),
    #[error("unknown variable {name:?}; there are {known}", known = VARIABLES.join(", "))]
    UnknownVariable { name: String },
    #[error("unknown function {0:?}")]
    UnknownFunction(String),
    #[error("the expression nests deeper than {0}")]
    ExpressionTooDeep(usize),
    #[error(
        "a macro (all, exists, exists_one, map, filter) inside another one could take too long"
    )]
    NestedMacro,
}

impl Condition {
    /// Compiles `source`.
    ///
    /// # Errors
    /// When it is too large, no CEL, or speaks of what there is not.
    pub fn compile(source: &str) -> Result<Self, Error> {
        condition_check::text(source)?;
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            Error::Syntax(first.map_or_else(|| errors.to_string(), |error| error.msg.clone()))
        })?;
        let reads = condition_check::expression(program.expression())?;
        if let Some(name) = unknown_function(&program) {
            return Err(Error::UnknownFunction(name));
        }
        Ok(Self {
            source: source.to_owned(),
            program: Arc::new(program),
            reads: reads.into(),
        })
    }

    /// The text that it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// In words, when it cannot be told: a key that is not there, a number that is none.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, String> {
        match self.evaluate(facts) {
            Ok(Value::Bool(value)) => Ok(value),
            Ok(other) => Err(format!("it gives a {}, not a bool", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The values that it reads, by the name they have in it.
    #[must_use]
    pub fn inputs(&self, facts: &Facts<'_>) -> BTreeMap<String, serde_json::Value> {
        self.reads
            .iter()
            .map(|read| (read.to_string(), read.value(facts)))
            .collect()
    }

    pub(super) fn expression(&self) -> &cel::IdedExpr {
        self.program.expression()
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Result<Value, ExecutionError> {
        self.program.execute(&Self::context(facts))
    }

    pub(super) fn context<'f>(facts: &Facts<'f>) -> Context<'f, 'f> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value("labels", map(facts.labels));
        context.add_variable_from_value("annotations", map(facts.annotations));
        context.add_variable_from_value("status", "firing");
        context.add_variable_from_value("at", Value::Timestamp(facts.at.fixed_offset()));
        context.add_variable_from_value("occurrence", facts.occurrence);
        let replicas = facts
            .replicas
            .map_or(Value::Null, |count| Value::Int(count.into()));
        context.add_variable_from_value("replicas", replicas);
        context
    }
}

/// The first function that it calls and that does not exist, while the file is at hand.
fn unknown_function(program: &Program) -> Option<String> {
    let references = program.references();
    let named = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric());
    let functions = references.functions().into_iter().filter(named);
    functions
        .map(str::to_owned)
        .find(|name| !exists(&format!("{name}(true)")) && !exists(&format!("true.{name}()")))
}

/// Whether the function of this call is there, whatever it makes of its arguments.
fn exists(call: &str) -> bool {
    let context = Context::with_env(Arc::clone(&ENV));
    Program::compile(call).is_ok_and(|program| {
        !matches!(
            program.execute(&context),
            Err(ExecutionError::UndeclaredReference(_))
        )
    })
}

fn map(labels: &Labels) -> Value {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str()));
    Value::Map(pairs.collect::<HashMap<String, &str>>().into())
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}
