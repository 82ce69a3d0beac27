//! Lists of what the services know.

use serde_json::Value;

use crate::{
    args::{ActionCommand, AlertCommand, DecisionCommand},
    client::{Client, Server, segment},
    error::Error,
    output::{As, Column, Output},
};

/// Items of a list that comes in pages, at most `limit`.
pub(crate) async fn items(
    client: &Client,
    server: Server,
    path: &str,
    query: &[(&str, String)],
    limit: usize,
) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page = client.get(server, path, &query).await?;
        let found = page.get("items").unwrap_or(&page).as_array().cloned();
        items.extend(found.unwrap_or_default());
        cursor = page
            .get("next_cursor")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if cursor.is_none() || items.len() >= limit {
            items.truncate(limit);
            return Ok(items);
        }
    }
}

/// One page's size: what is wanted, within what every service takes.
pub(crate) fn page(limit: usize) -> (&'static str, String) {
    ("limit", limit.clamp(1, 100).to_string())
}

/// `alert ls`
pub(crate) async fn alerts(
    client: &Client,
    output: Output,
    command: &AlertCommand,
) -> Result<(), Error> {
    let AlertCommand::Ls { status, limit } = command else {
        return Ok(());
    };
    let mut query = vec![page(limit.limit)];
    query.extend(status.clone().map(|status| ("status", status)));
    let items = items(
        client,
        Server::Ingest,
        "/api/v1/alerts",
        &query,
        limit.limit,
    )
    .await?;
    let columns = [
        Column("ALERT", "/name", As::Text),
        Column("STATUS", "/status", As::Status),
        Column("SERVICE", "/service", As::Text),
        Column("SEVERITY", "/labels/severity", As::Text),
        Column("SOURCE", "/source", As::Text),
        Column("TIMES", "/occurrences", As::Text),
        Column("FIRST SEEN", "/first_seen", As::Time),
        Column("LAST SEEN", "/last_seen", As::Time),
        Column("ALERT ID", "/alert_id", As::Text),
    ];
    output.list(&items, &columns, "no alerts")
}

/// `action ls`
pub(crate) async fn actions(
    client: &Client,
    output: Output,
    command: &ActionCommand,
) -> Result<(), Error> {
    let ActionCommand::Ls { incident, limit } = command else {
        return Ok(());
    };
    let items = match incident {
        Some(id) => of_incident(client, id).await?,
        None => {
            let query = [page(limit.limit)];
            items(
                client,
                Server::ActionRunner,
                "/api/v1/actions",
                &query,
                limit.limit,
            )
            .await?
        }
    };
    output.list(&items, &action_columns(), "no actions")
}

/// Actions of an incident, in their order.
pub(crate) async fn of_incident(client: &Client, id: &str) -> Result<Vec<Value>, Error> {
    let path = format!("/api/v1/incidents/{}/actions", segment(id));
    items(client, Server::IncidentStore, &path, &[], usize::MAX).await
}

/// Columns of a list of actions.
pub(crate) fn action_columns() -> [Column; 10] {
    [
        Column("ACTION", "/action_id", As::Id),
        Column("INCIDENT", "/incident_id", As::Id),
        Column("TARGET", "/target", As::Text),
        Column("KIND", "/kind", As::Text),
        Column("FROM", "/previous_replicas", As::Text),
        Column("TO", "/desired_replicas", As::Text),
        Column("STATUS", "/status", As::Status),
        Column("REQUESTED", "/requested_at", As::Time),
        Column("FINISHED", "/finished_at", As::Time),
        Column("WHY", "/reason/message", As::Text),
    ]
}

/// `target ls`
pub(crate) async fn targets(client: &Client, output: Output) -> Result<(), Error> {
    let path = "/api/v1/targets";
    let items = items(client, Server::ActionRunner, path, &[], usize::MAX).await?;
    let columns = [
        Column("TARGET", "/target", As::Text),
        Column("DESIRED", "/desired_replicas", As::Text),
        Column("RUNNING", "/running_replicas", As::Text),
        Column("SERVING", "/serving_replicas", As::Text),
        Column("MIN", "/min_replicas", As::Text),
        Column("MAX", "/max_replicas", As::Text),
        Column("HEALTH", "/health", As::Status),
        Column("PAUSED", "/paused", As::Text),
        Column("UNTIL", "/pause/until", As::Time),
        Column("ERROR", "/error", As::Text),
    ];
    output.list(&items, &columns, "no targets are declared")
}

/// `limits ls`
pub(crate) async fn limits(client: &Client, output: Output) -> Result<(), Error> {
    let items = items(client, Server::Rules, "/api/v1/limits", &[], usize::MAX).await?;
    let columns = [
        Column("TARGET", "/target", As::Text),
        Column("LIMIT AN HOUR", "/limit", As::Text),
        Column("ASKED IN THE LAST", "/asked_last_hour", As::Text),
        Column("OPEN SINCE", "/open/at", As::Time),
        Column("WHY", "/open/reason", As::Text),
    ];
    output.list(&items, &columns, "no targets are declared")
}

/// `rules ls`
pub(crate) async fn rules(client: &Client, output: Output) -> Result<(), Error> {
    let mut items = items(client, Server::Rules, "/api/v1/rules", &[], usize::MAX).await?;
    if !output.is_json() {
        for item in &mut items {
            item["action"] = action_words(&item["action"]);
        }
    }
    let columns = [
        Column("RULE", "/name", As::Text),
        Column("VERSION", "/version", As::Id),
        Column("STATE", "/state", As::Text),
        Column("MATCHERS", "/matchers", As::Names),
        Column("GROUP BY", "/group_by", As::Names),
        Column("INCIDENT", "/incident", As::Text),
        Column("ACTION", "/action", As::Text),
        Column("WHEN", "/when", As::Text),
    ];
    output.list(&items, &columns, "no rules are loaded")
}

/// `up to 2`, `down by 1`, `to 3`
fn action_words(action: &Value) -> Value {
    let direction = match action["direction"].as_str() {
        Some("exact") | None => "",
        Some(direction) => direction,
    };
    let size = match (action["replicas"].as_i64(), action["step"].as_i64()) {
        (Some(count), _) => format!("to {count}"),
        (None, Some(step)) => format!("by {}", step.abs()),
        (None, None) => return Value::Null,
    };
    format!("{direction} {size}").trim_start().into()
}

/// `decision ls`
pub(crate) async fn decisions(
    client: &Client,
    output: Output,
    command: &DecisionCommand,
) -> Result<(), Error> {
    let DecisionCommand::Ls {
        alert_id,
        rule,
        limit,
    } = command
    else {
        return Ok(());
    };
    let mut query = vec![page(limit.limit)];
    query.extend(alert_id.clone().map(|id| ("alert_id", id)));
    query.extend(rule.clone().map(|rule| ("rule", rule)));
    let items = items(
        client,
        Server::Rules,
        "/api/v1/decisions",
        &query,
        limit.limit,
    )
    .await?;
    let rows: Vec<Value> = if output.is_json() {
        items
    } else {
        items.iter().flat_map(outcomes).collect()
    };
    let columns = [
        Column("AT", "/at", As::Time),
        Column("KEY", "/correlation_key", As::Text),
        Column("RULE", "/outcome/rule", As::Text),
        Column("OUTCOME", "/outcome/outcome", As::Status),
        Column("REASON", "/outcome/reason", As::Text),
        Column("ALERT ID", "/alert_id", As::Text),
    ];
    output.list(&rows, &columns, "no decisions")
}

/// A decision has an outcome for each rule that matched: a line each.
fn outcomes(decision: &Value) -> Vec<Value> {
    let mut bare = decision.clone();
    let outcomes = bare
        .as_object_mut()
        .and_then(|fields| fields.remove("outcomes"));
    let outcomes = match outcomes {
        Some(Value::Array(outcomes)) if !outcomes.is_empty() => outcomes,
        Some(_) | None => vec![serde_json::json!({"outcome": "no rule matched"})],
    };
    outcomes
        .into_iter()
        .map(|outcome| {
            let mut row = bare.clone();
            row["outcome"] = outcome;
            row
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_in_words() {
        let words = |action| action_words(&action);
        let up = serde_json::json!({"replicas": 2, "direction": "up"});
        assert_eq!(words(up), "up to 2");
        let step = serde_json::json!({"step": -1, "direction": "down"});
        assert_eq!(words(step), "down by 1");
        let exact = serde_json::json!({"replicas": 3, "direction": "exact"});
        assert_eq!(words(exact), "to 3");
        assert_eq!(words(Value::Null), Value::Null);
    }
}
