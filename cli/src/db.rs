//! `db restored`, `db lacked`: databases that were restored from a dump.

use serde_json::{Value, json};
use service_kit::{
    outbox::held::Because,
    restore::{Announced, announce_at},
};

use crate::{
    args::{DbCommand, DbRestored},
    client::Client,
    error::{Error, chain},
    outbox::{gather, servers},
    output::{As, Column, Output, line},
};

/// Every verb about databases.
pub(crate) async fn run(client: &Client, output: Output, command: &DbCommand) -> Result<(), Error> {
    match command {
        DbCommand::Restored(args) => restored(output, args).await,
        DbCommand::Lacked { service } => {
            let servers = servers(service);
            let found = gather(client, servers, "/api/v1/restorations", &[]).await;
            let columns = [
                Column("SERVICE", "/service", As::Text),
                Column("RESTORED", "/at", As::Time),
                Column("BY", "/actor", As::Text),
                Column("CAUGHT UP", "/caught_up_at", As::Time),
                Column("READ AGAIN", "/report/read", As::Text),
                Column("SAID SINCE", "/report/said", As::Text),
                Column("NOT SAID AGAIN", "/report/not_said_again", As::Text),
                Column("SAID ANEW", "/report/said_anew", As::Text),
            ];
            output.list(&found.values(), &columns, "no database was restored")?;
            found.away
        }
    }
}

/// The service is stopped, so this is the one verb that goes to a database.
async fn restored(output: Output, args: &DbRestored) -> Result<(), Error> {
    let because = Because {
        actor: args.because.actor().to_owned(),
        reason: args.because.reason.clone(),
    };
    let announced = announce_at(&args.database_url, &because).await;
    match announced.map_err(|error| Error::Failed(chain(&error)))? {
        Announced::InUse(name) => Err(Error::Refused {
            server: "the database",
            status: 409,
            detail: format!("{name} is connected: stop the service first"),
        }),
        Announced::Done(done) => {
            let answer: Value = json!({
                "incarnation_before": done.incarnation_before,
                "incarnation": done.incarnation,
            });
            if output.is_json() {
                return output.json(&answer);
            }
            line(&format!(
                "incarnation {} follows {}: start one instance of the service; it catches up before it does anything else, and `eventpulse db lacked` lists what the dump lacked",
                done.incarnation, done.incarnation_before
            ))
        }
    }
}
