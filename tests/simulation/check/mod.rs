//! What must hold, judged from what everybody can see: bodies and answers, records, rows of the
//! decisions log, containers. Nothing here calls the services' own code to know what is right.

pub(crate) mod actions;
pub(crate) mod alerts;
pub(crate) mod order;
pub(crate) mod rest;

use crate::{
    log::Record,
    rules::{Row, Rules},
};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// `G1` to `G12` of the design, or what else was promised.
    pub(crate) guarantee: &'static str,
    pub(crate) what: String,
}

pub(crate) type Verdict = Result<(), Violation>;

/// Holds, or is a violation of `guarantee`.
pub(crate) fn ensure(
    holds: bool,
    guarantee: &'static str,
    what: impl FnOnce() -> String,
) -> Verdict {
    match holds {
        true => Ok(()),
        false => Err(Violation {
            guarantee,
            what: what(),
        }),
    }
}

/// All checks, fed as things happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) alerts: alerts::Alerts,
    pub(crate) order: order::Order,
    pub(crate) actions: actions::Actions,
}

impl Checks {
    /// A record is on a topic.
    pub(crate) fn appended(&mut self, record: &Record, stamp: usize) -> Verdict {
        self.order.appended(record)?;
        self.alerts.appended(record)?;
        self.actions.appended(record, stamp)
    }

    /// Rules have committed.
    pub(crate) fn decided(&mut self, rows: &[Row], rules: &Rules) -> Verdict {
        self.order.decided(rows)?;
        for row in rows {
            self.actions.decided(row)?;
        }
        self.actions.waits(rows, rules)
    }
}
