//! An expression as text again: the parts of a condition, as people read them.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators},
};
use shared_events::matcher::is_label_name;

/// How tightly an operator binds; a part that binds less is put in brackets.
const ATOM: u8 = 9;

/// The text of an expression. A macro is shown by what it goes over.
pub(super) fn text(node: &IdedExpr) -> String {
    with(node, &|_| None)
}

/// The same, with each part for which `known` has a text replaced by that.
pub(super) fn with(node: &IdedExpr, known: &dyn Fn(&IdedExpr) -> Option<String>) -> String {
    if let Some(text) = known(node) {
        return text;
    }
    let part = |node: &IdedExpr| with(node, known);
    match &node.expr {
        Expr::Unspecified => String::new(),
        Expr::Ident(name) => name.clone(),
        Expr::Literal(value) => literal(value),
        Expr::Select(select) => selected(select, known),
        Expr::Call(call) => called(call, known),
        Expr::List(list) => format!("[{}]", joined(list.elements.iter().map(part))),
        Expr::Map(map) => {
            let entries = map
                .entries
                .iter()
                .map(|entry| self::entry(&entry.expr, known));
            format!("{{{}}}", joined(entries))
        }
        Expr::Struct(made) => {
            let entries = made
                .entries
                .iter()
                .map(|entry| self::entry(&entry.expr, known));
            format!("{}{{{}}}", made.type_name, joined(entries))
        }
        Expr::Comprehension(over) => {
            format!("(each {} of {})", over.iter_var, part(&over.iter_range))
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn entry(entry: &EntryExpr, known: &dyn Fn(&IdedExpr) -> Option<String>) -> String {
    match entry {
        EntryExpr::StructField(field) => format!("{}: {}", field.field, with(&field.value, known)),
        EntryExpr::MapEntry(entry) => {
            format!("{}: {}", with(&entry.key, known), with(&entry.value, known))
        }
    }
}

fn literal(value: &LiteralValue) -> String {
    match value {
        LiteralValue::Boolean(value) => value.inner().to_string(),
        LiteralValue::Bytes(value) => format!("b{:?}", String::from_utf8_lossy(value.inner())),
        LiteralValue::Double(value) => format!("{:?}", value.inner()),
        LiteralValue::Int(value) => value.inner().to_string(),
        LiteralValue::Null => "null".to_owned(),
        LiteralValue::String(value) => format!("{:?}", value.inner()),
        LiteralValue::UInt(value) => format!("{}u", value.inner()),
    }
}

fn selected(select: &SelectExpr, known: &dyn Fn(&IdedExpr) -> Option<String>) -> String {
    let operand = with(&select.operand, known);
    let member = if is_label_name(&select.field) {
        format!("{operand}.{}", select.field)
    } else {
        format!("{operand}[{:?}]", select.field)
    };
    if select.test {
        format!("has({member})")
    } else {
        member
    }
}

fn called(call: &CallExpr, known: &dyn Fn(&IdedExpr) -> Option<String>) -> String {
    let part = |node: &IdedExpr| with(node, known);
    let own = binding(&call.func_name);
    let tight = |node: &IdedExpr| bracketed(node, own, known);
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::CONDITIONAL, [when, then, otherwise]) => {
            let (when, then) = (tight(when), tight(then));
            format!("{when} ? {then} : {}", tight(otherwise))
        }
        (operators::INDEX, [of, at]) => format!("{}[{}]", tight(of), part(at)),
        (operators::LOGICAL_NOT, [of]) => format!("!{}", tight(of)),
        (operators::NEGATE, [of]) => format!("-{}", tight(of)),
        (name, [left, right]) if infix(name).is_some() => {
            let sign = infix(name).unwrap_or_default();
            format!("{} {sign} {}", tight(left), tight(right))
        }
        (name, args) => {
            let args = joined(args.iter().map(part));
            match &call.target {
                Some(target) => format!("{}.{name}({args})", bracketed(target, ATOM, known)),
                None => format!("{name}({args})"),
            }
        }
    }
}

fn bracketed(node: &IdedExpr, around: u8, known: &dyn Fn(&IdedExpr) -> Option<String>) -> String {
    let text = with(node, known);
    let own = match &node.expr {
        Expr::Call(call) => binding(&call.func_name),
        Expr::Unspecified
        | Expr::Comprehension(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Literal(_)
        | Expr::Map(_)
        | Expr::Select(_)
        | Expr::Struct(_) => ATOM,
    };
    // equal binding is bracketed too, but for chains of one logical operator
    let chain = |name| matches!(&node.expr, Expr::Call(call) if call.func_name == name);
    let plain = own > around
        || around == ATOM && own == ATOM
        || around == 3 && chain(operators::LOGICAL_AND)
        || around == 2 && chain(operators::LOGICAL_OR);
    if plain || known(node).is_some() {
        text
    } else {
        format!("({text})")
    }
}

fn binding(function: &str) -> u8 {
    match function {
        operators::CONDITIONAL => 1,
        operators::LOGICAL_OR => 2,
        operators::LOGICAL_AND => 3,
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::IN => 4,
        operators::ADD | operators::SUBSTRACT => 5,
        operators::MULTIPLY | operators::DIVIDE | operators::MODULO => 6,
        operators::LOGICAL_NOT | operators::NEGATE => 7,
        _call => ATOM,
    }
}

/// The sign of an operator between two operands.
pub(super) fn infix(function: &str) -> Option<&'static str> {
    Some(match function {
        operators::LOGICAL_OR => "||",
        operators::LOGICAL_AND => "&&",
        operators::EQUALS => "==",
        operators::NOT_EQUALS => "!=",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::IN => "in",
        operators::ADD => "+",
        operators::SUBSTRACT => "-",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        _call => return None,
    })
}
