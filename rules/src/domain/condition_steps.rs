//! A condition, worked out part by part: each sub-expression with its value. The parts are those of
//! the expression that was let through when the file was loaded, so its bounds hold for each.

use cel::{
    Context, IdedExpr, Value,
    common::ast::{EntryExpr, Expr, operators},
};
use serde::Serialize;

use super::{
    condition::{Condition, Facts},
    condition_text::{text, with},
};

/// Most parts that are shown.
const MOST: usize = 64;

/// One sub-expression and what it comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub expression: String,
    /// Null as well when it cannot be told.
    pub value: serde_json::Value,
    /// Why it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Condition {
    /// Every sub-expression with its value, inner ones first; the last one is the whole.
    #[must_use]
    pub fn steps(&self, facts: &Facts<'_>) -> Vec<Step> {
        let context = Self::context(facts);
        let mut steps: Vec<Step> = Vec::new();
        let root = self.expression();
        for part in parts(root).into_iter().take(MOST - 1).chain([root]) {
            let expression = text(part);
            if steps.iter().any(|step| step.expression == expression) {
                continue;
            }
            let (value, error) = match told(part, &context) {
                Ok(value) => (value, None),
                Err(error) => (serde_json::Value::Null, Some(error)),
            };
            steps.push(Step {
                expression,
                value,
                error,
            });
        }
        steps
    }

    /// The condition with values in the place of what it compares: `0.84 > 0.9`.
    #[must_use]
    pub fn worked_out(&self, facts: &Facts<'_>) -> String {
        let context = Self::context(facts);
        with(self.expression(), &|part| {
            if is_logic(&part.expr) || matches!(&part.expr, Expr::Ident(name) if is_container(name))
            {
                return None;
            }
            told(part, &context).ok().map(|value| value.to_string())
        })
    }
}

fn told(part: &IdedExpr, context: &Context<'_, '_>) -> Result<serde_json::Value, String> {
    let value = Value::resolve(part, context).map_err(|error| error.to_string())?;
    value.json().map_err(|error| error.to_string())
}

/// What says more as a formula than as true or false.
fn is_logic(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else {
        return false;
    };
    [
        operators::LOGICAL_AND,
        operators::LOGICAL_OR,
        operators::LOGICAL_NOT,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::LESS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::GREATER_EQUALS,
        operators::IN,
    ]
    .contains(&call.func_name.as_str())
}

/// Sub-expressions that are worth showing, inner ones first. What is inside a macro has a value for
/// each element only, and is left out.
fn parts(node: &IdedExpr) -> Vec<&IdedExpr> {
    let mut found = Vec::new();
    collect(node, &mut found);
    found
}

fn collect<'a>(node: &'a IdedExpr, found: &mut Vec<&'a IdedExpr>) {
    match &node.expr {
        Expr::Unspecified | Expr::Literal(_) => return,
        Expr::Ident(name) if is_container(name) => return,
        Expr::Ident(_) => {}
        Expr::Select(select) => collect(&select.operand, found),
        Expr::List(list) => list.elements.iter().for_each(|part| collect(part, found)),
        Expr::Call(call) => {
            call.target.iter().for_each(|part| collect(part, found));
            call.args.iter().for_each(|part| collect(part, found));
        }
        Expr::Map(map) => map
            .entries
            .iter()
            .for_each(|e| collect_entry(&e.expr, found)),
        Expr::Struct(made) => made
            .entries
            .iter()
            .for_each(|e| collect_entry(&e.expr, found)),
        Expr::Comprehension(over) => collect(&over.iter_range, found),
    }
    found.push(node);
}

fn collect_entry<'a>(entry: &'a EntryExpr, found: &mut Vec<&'a IdedExpr>) {
    match entry {
        EntryExpr::StructField(field) => collect(&field.value, found),
        EntryExpr::MapEntry(entry) => {
            collect(&entry.key, found);
            collect(&entry.value, found);
        }
    }
}

/// Shown as a whole these would repeat the alert.
fn is_container(name: &str) -> bool {
    ["labels", "annotations"].contains(&name)
}
