//! Rules, decisions and what people command.

mod commands;
mod content;
mod decisions;
mod explain;
mod explained;
mod limits;
mod pauses;
mod query;
mod rules;
mod sets;
mod shadows;
mod versions;

use serde::Serialize;
use service_kit::{
    Kit,
    http::{OpenApiRouter, routes},
};
use utoipa::ToSchema;

use crate::{service::RuleEngine, workers::reload::Reloader};

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) kit: Kit<RuleEngine>,
    pub(crate) reloader: Reloader,
}

/// Every route of Rules.
pub(crate) fn router(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(rules::list, versions::put))
        .routes(routes!(versions::list))
        .routes(routes!(versions::text))
        .routes(routes!(versions::rollback))
        .routes(routes!(sets::show))
        .routes(routes!(shadows::report))
        .routes(routes!(rules::show))
        .routes(routes!(rules::reload))
        .routes(routes!(decisions::list))
        .routes(routes!(explain::show))
        .routes(routes!(explain::why))
        .routes(routes!(limits::list))
        .routes(routes!(limits::close))
        .routes(routes!(pauses::list))
        .routes(routes!(pauses::pause))
        .routes(routes!(pauses::resume))
        .routes(routes!(commands::retry))
        .routes(routes!(commands::close))
        .routes(routes!(content::all))
        .routes(routes!(content::item))
        .with_state(api)
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    items: Vec<T>,
    /// For parameter `cursor`; missing on the last page
    next_cursor: Option<String>,
}
