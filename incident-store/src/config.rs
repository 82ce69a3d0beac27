//! Settings of Incident Store.

use service_kit::KitArgs;

/// Keeps the story of every incident and answers questions about it.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "incident-store", version)]
pub struct Config {
    #[command(flatten)]
    pub kit: KitArgs,
    /// Publish `incident.status` on topic incident.status whenever the derived status changes
    #[arg(
        long,
        env = "EVENTPULSE_PUBLISH_STATUS",
        action = clap::ArgAction::SetTrue,
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    pub publish_status: bool,
    /// Link to a trace for people, with {trace_id} in it: http://127.0.0.1:16686/trace/{trace_id}
    #[arg(long, env = "EVENTPULSE_TRACE_URL", value_name = "URL")]
    pub trace_url: Option<String>,
}

impl AsRef<KitArgs> for Config {
    fn as_ref(&self) -> &KitArgs {
        &self.kit
    }
}
