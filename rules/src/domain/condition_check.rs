//! What a condition may be: bounds on its text before it is parsed, and on its expression before
//! it is ever run, because CEL here has no budget for time.

use std::fmt;

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr, LiteralValue, operators},
};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::condition::{Error, Facts, MAX_BYTES, MAX_NESTING};

/// What a condition may speak of.
pub const VARIABLES: [&str; 6] = [
    "labels",
    "annotations",
    "status",
    "at",
    "occurrence",
    "replicas",
];

/// Deepest expression: a run recurses as deep, on a thread of ordinary stack, and takes 35 KB for
/// each level in a debug build.
const MAX_DEPTH: usize = 16;
/// Unary operators in a row, each a level of the parser's recursion.
const MAX_UNARY: usize = 4;

/// A value that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    Label(String),
    Annotation(String),
    Status,
    At,
    Occurrence,
    Replicas,
}

impl Read {
    /// What it is for these facts; null when missing.
    #[must_use]
    pub(super) fn value(&self, facts: &Facts<'_>) -> Value {
        match self {
            Self::Label(name) => json!(facts.labels.get(name)),
            Self::Annotation(name) => json!(facts.annotations.get(name)),
            Self::Status => json!("firing"),
            Self::At => json!(facts.at.to_rfc3339_opts(SecondsFormat::Micros, true)),
            Self::Occurrence => json!(facts.occurrence),
            Self::Replicas => json!(facts.replicas),
        }
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(name) => write!(f, "labels.{name}"),
            Self::Annotation(name) => write!(f, "annotations.{name}"),
            Self::Status => f.write_str("status"),
            Self::At => f.write_str("at"),
            Self::Occurrence => f.write_str("occurrence"),
            Self::Replicas => f.write_str("replicas"),
        }
    }
}

/// Bounds on the text: length, nesting of brackets, unary operators in a row.
pub(super) fn text(source: &str) -> Result<(), Error> {
    if source.len() > MAX_BYTES {
        return Err(Error::TooLong(source.len()));
    }
    let (mut depth, mut unary) = (0_usize, 0_usize);
    for c in source.chars() {
        if "([{".contains(c) {
            depth += 1;
        } else if ")]}".contains(c) {
            depth = depth.saturating_sub(1);
        }
        if "!-".contains(c) {
            unary += 1;
        } else if !c.is_whitespace() {
            unary = 0;
        }
        if depth > MAX_NESTING || unary > MAX_UNARY {
            return Err(Error::TooDeep);
        }
    }
    Ok(())
}

/// Bounds on the expression, and what it reads.
pub(super) fn expression(root: &IdedExpr) -> Result<Vec<Read>, Error> {
    let mut walk = Walk::default();
    walk.visit(root, 0)?;
    walk.reads.sort();
    walk.reads.dedup();
    Ok(walk.reads)
}

#[derive(Default)]
struct Walk {
    reads: Vec<Read>,
    /// Variables of the macro that is being walked.
    bound: Vec<String>,
    in_macro: bool,
}

impl Walk {
    fn visit(&mut self, node: &IdedExpr, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::ExpressionTooDeep(MAX_DEPTH));
        }
        if let Some(read) = member(&node.expr) {
            self.reads.push(read);
            return Ok(());
        }
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.visit(&select.operand, depth + 1),
            Expr::List(list) => self.visit_all(&list.elements, depth),
            Expr::Call(call) => {
                if let Some(target) = &call.target {
                    self.visit(target, depth + 1)?;
                }
                self.visit_all(&call.args, depth)
            }
            Expr::Map(map) => map
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(made) => made
                .entries
                .iter()
                .try_for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Comprehension(over) => {
                if self.in_macro {
                    return Err(Error::NestedMacro);
                }
                self.visit(&over.iter_range, depth + 1)?;
                self.in_macro = true;
                self.bound = vec![over.iter_var.clone(), over.accu_var.clone()];
                self.bound.extend(over.iter_var2.clone());
                for part in [
                    &over.accu_init,
                    &over.loop_cond,
                    &over.loop_step,
                    &over.result,
                ] {
                    self.visit(part, depth + 1)?;
                }
                self.bound.clear();
                self.in_macro = false;
                Ok(())
            }
        }
    }

    fn visit_all(&mut self, nodes: &[IdedExpr], depth: usize) -> Result<(), Error> {
        nodes
            .iter()
            .try_for_each(|node| self.visit(node, depth + 1))
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) -> Result<(), Error> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value, depth + 1),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, depth + 1)?;
                self.visit(&entry.value, depth + 1)
            }
        }
    }

    fn ident(&mut self, name: &str) -> Result<(), Error> {
        let read = match name {
            "status" => Some(Read::Status),
            "at" => Some(Read::At),
            "occurrence" => Some(Read::Occurrence),
            "replicas" => Some(Read::Replicas),
            _other => None,
        };
        let known = VARIABLES.contains(&name) || TYPES.contains(&name);
        if !known && !self.bound.iter().any(|bound| bound == name) {
            return Err(Error::UnknownVariable {
                name: name.to_owned(),
            });
        }
        self.reads.extend(read);
        Ok(())
    }
}

/// Names of types, which CEL lets stand for themselves.
const TYPES: [&str; 8] = [
    "bool", "int", "uint", "double", "string", "bytes", "list", "map",
];

/// `labels.x`, `labels["x"]`, `has(labels.x)` and the same of annotations.
fn member(expr: &Expr) -> Option<Read> {
    let (operand, name) = selected(expr).or_else(|| indexed(expr))?;
    let Expr::Ident(of) = operand else {
        return None;
    };
    match of.as_str() {
        "labels" => Some(Read::Label(name.to_owned())),
        "annotations" => Some(Read::Annotation(name.to_owned())),
        _other => None,
    }
}

fn selected(expr: &Expr) -> Option<(&Expr, &str)> {
    let Expr::Select(select) = expr else {
        return None;
    };
    Some((&select.operand.expr, &select.field))
}

fn indexed(expr: &Expr) -> Option<(&Expr, &str)> {
    let Expr::Call(call) = expr else {
        return None;
    };
    let [operand, index] = call.args.as_slice() else {
        return None;
    };
    let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
        return None;
    };
    (call.func_name == operators::INDEX).then(|| (&operand.expr, name.inner()))
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
