//! What people and the command line ask of Action Runner.

mod actions;
mod targets;

use std::{path::Path, sync::Arc};

use service_kit::http::{OpenApiRouter, routes};

use crate::{keeper::Tools, sweep::Found};

/// What handlers need.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) tools: Tools,
    pub(crate) found: Found,
    /// `targets.yaml`
    pub(crate) file: Arc<Path>,
}

/// Every route of the API.
pub(crate) fn router(api: Api) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(actions::list))
        .routes(routes!(actions::show))
        .routes(routes!(targets::list))
        .routes(routes!(targets::prune_all))
        .routes(routes!(targets::prune))
        .routes(routes!(targets::reload))
        .with_state(api)
}
