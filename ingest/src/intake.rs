//! From a parsed body to the commit: whatever is in a body is stored before the answer, and one
//! alert that cannot be stored does not take the others with it.

use std::{collections::HashMap, sync::Arc};

use service_kit::{Class, Error, Kit, Poison, Trace, Work, error::chain};
use shared_events::EventId;
use uuid::Uuid;

use crate::{
    domain::{Notice, Reason, Reject, Webhook},
    metrics::Metrics,
    queue::Queue,
    service::{Ingest, Input, Tally},
    store::{NewReject, Receipt},
};

pub(crate) type Works = Vec<Work<Input>>;

/// Stores what is in a body; returns when it is committed.
///
/// # Errors
/// Class `Retry`: all, some or nothing of it was stored; the sender must send it again.
pub(crate) async fn accept(
    queue: &Queue,
    metrics: &Metrics,
    receipt: Receipt,
    webhook: Webhook,
) -> Result<(), Arc<Error>> {
    let (source, receipt_id) = (receipt.source.clone(), receipt.receipt_id);
    let mut body = Body {
        receipt_id,
        source: source.clone(),
        trace: Trace::current(),
        works: Vec::with_capacity(webhook.alerts.len() + 1),
    };
    body.push(Input::Receipt(Arc::new(receipt)));
    let (mut notices, mut rejected) = (HashMap::new(), Vec::new());
    for alert in webhook.alerts {
        match alert {
            Ok(notice) => {
                let notice = Arc::new(notice);
                let id = body.push(Input::Notice {
                    notice: Arc::clone(&notice),
                    receipt_id,
                });
                notices.insert(id, notice);
            }
            Err(reject) => {
                rejected.push(reject.reason);
                body.push_reject(reject);
            }
        }
    }
    let mut stored = queue.store(std::mem::take(&mut body.works)).await?;
    for (id, poison) in &stored.refused {
        let Some(notice) = notices.get(id) else {
            return Err(Arc::new(Error::Poison(poison.clone())));
        };
        let reject = refusal(notice, poison);
        tracing::warn!(%receipt_id, alert_id = %notice.alert_id, reason = reject.reason.as_str(),
            detail = reject.detail, "an alert cannot be stored");
        rejected.push(reject.reason);
        body.push_reject(reject);
    }
    if !body.works.is_empty() {
        let refused = queue.store(body.works).await?.refused;
        if let Some((_, poison)) = refused.into_iter().next() {
            return Err(Arc::new(Error::Poison(poison)));
        }
    }
    let accepted = notices.len() - stored.refused.len();
    stored.refused.clear();
    metrics.body(&source, accepted, &rejected, webhook.truncated);
    metrics.outcomes(&stored.tally);
    Ok(())
}

/// Works of one body.
struct Body {
    receipt_id: Uuid,
    source: String,
    trace: Trace,
    works: Works,
}

impl Body {
    fn push(&mut self, input: Input) -> EventId {
        // Tells works of a batch apart; nobody outside hears it.
        let place = self.works.len().to_string();
        let id = shared_events::ids::event_id("ingest", "work", self.receipt_id, &place);
        self.works.push(Work::local(id, self.trace.clone(), input));
        id
    }

    fn push_reject(&mut self, reject: Reject) {
        let new = NewReject {
            receipt_id: self.receipt_id,
            source: self.source.clone(),
            reject,
        };
        self.push(Input::Reject(Arc::new(new)));
    }
}

fn refusal(notice: &Notice, poison: &Poison) -> Reject {
    let reason = if poison.stage == DATABASE {
        Reason::Database
    } else {
        Reason::Fault
    };
    Reject::new(reason, &poison.reason, notice.raw.clone())
}

/// Stage of a poison that the database refused.
const DATABASE: &str = "database";

/// What was stored, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) tally: Tally,
    /// Works that nothing was stored of.
    pub(crate) refused: Vec<(EventId, Poison)>,
}

/// Handles `works` in order: in one transaction, or, when the data of one is refused, in as many
/// as it takes to find that one by halving.
///
/// # Errors
/// Class `Retry` only; some halves may be stored by then.
pub(crate) async fn store(kit: &Kit<Ingest>, works: Works) -> Result<Stored, Error> {
    let mut stored = Stored::default();
    let mut pending = vec![works];
    while let Some(mut works) = pending.pop() {
        match kit.handle(works.clone()).await {
            Ok(handled) => {
                stored.tally.add(&handled.reply);
                stored.refused.extend(handled.rejected);
            }
            Err(error) if error.class() == Class::Park && works.len() > 1 => {
                tracing::debug!(error = chain(&error), works = works.len(), "halving");
                let second = works.split_off(works.len() / 2);
                pending.push(second);
                pending.push(works);
            }
            Err(error) if error.class() == Class::Park => {
                let stage = match error {
                    Error::Database { .. } => DATABASE,
                    _ => "fold",
                };
                let poison = Poison::new(stage, &error);
                stored
                    .refused
                    .extend(works.pop().map(|work| (work.id, poison)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(stored)
}
