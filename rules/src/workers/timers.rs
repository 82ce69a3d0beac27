//! Fires due timers. Evidence that waits in Kafka counts first: a timer that is due at T is folded
//! only after everything that `alert` and `action` held when that was asked, at T or later, has had
//! its effect. With the broker away none fires.

use std::time::Duration;

use service_kit::{Class, Error, Kit, Trace, Work, Worker, clock::Ticker, error::chain, in_time};
use shared_events::Topic;

use crate::{
    domain::Timer,
    service::{Input, RuleEngine},
    store::timers,
};

/// Rest between two looks.
const REST: Duration = Duration::from_millis(250);
/// Timers of one transaction.
const AT_ONCE: i64 = 100;

pub(super) fn worker(kit: &Kit<RuleEngine>) -> Worker {
    let kit = kit.clone();
    Worker::new("timers", move || {
        let kit = kit.clone();
        async move {
            let mut ticker = Ticker::new(REST, kit.shutdown().clone());
            while ticker.tick().await {
                while fire_due(&kit).await? {
                    if kit.shutdown().is_cancelled() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }
    })
}

/// Fires what is due. Gives whether there may be more.
pub(crate) async fn fire_due(kit: &Kit<RuleEngine>) -> Result<bool, Error> {
    let due = in_time("looking for timers", due(kit)).await?;
    if due.is_empty() {
        return Ok(false);
    }
    let topics = [Topic::Alert.name(), Topic::Action.name()];
    tokio::select! {
        caught_up = kit.watermarks().caught_up(&topics) => caught_up?,
        () = kit.shutdown().cancelled() => return Ok(false),
    }
    let more = due.len() >= usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
    let works: Vec<_> = due.into_iter().map(work).collect();
    match kit.handle(works.clone()).await {
        Err(error) if error.class() == Class::Park && works.len() > 1 => {
            Ok(one_by_one(kit, works).await? && more)
        }
        outcome => outcome.map(|_| more),
    }
}

/// What the database refuses of one timer keeps no other from firing; it is tried again with the next
/// look. Gives whether any has fired.
async fn one_by_one(kit: &Kit<RuleEngine>, works: Vec<Work<Input>>) -> Result<bool, Error> {
    let mut fired = false;
    for work in works {
        let timer_id = work.id;
        match kit.handle(vec![work]).await {
            Err(error) if error.class() == Class::Park => {
                tracing::error!(%timer_id, error = chain(&error), "a timer cannot fire");
            }
            outcome => {
                outcome?;
                fired = true;
            }
        }
    }
    Ok(fired)
}

async fn due(kit: &Kit<RuleEngine>) -> Result<Vec<(Timer, Trace)>, Error> {
    let mut conn = kit
        .pool()
        .acquire()
        .await
        .map_err(Error::database("connecting"))?;
    let now = kit.database_now(&mut conn).await?;
    let silent_since = now - kit.service().rules.action_grace();
    timers::due(&mut *conn, now, Some(silent_since), AT_ONCE).await
}

fn work((timer, trace): (Timer, Trace)) -> Work<Input> {
    Work::local(timer.id, trace, Input::Timer(timer))
}
