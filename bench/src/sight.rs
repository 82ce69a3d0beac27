//! When incidents become visible: the Incident Store's stream.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::StreamExt;
use tokio::task::JoinHandle;

use crate::{Servers, error::Error};

/// When the incident of each correlation key was seen first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight(Arc<Mutex<HashMap<String, Instant>>>);

impl Sight {
    /// Begins to look at the stream; it is open when this returns.
    pub(crate) async fn begin(&self, servers: &Servers) -> Result<JoinHandle<()>, Error> {
        let url = format!("{}/api/v1/stream", servers.incident_store);
        let what = format!("GET {url}");
        let answer = reqwest::get(&url).await.map_err(Error::http(&what))?;
        let seen = Arc::clone(&self.0);
        Ok(tokio::spawn(async move {
            let (mut bytes, mut text) = (answer.bytes_stream(), String::new());
            while let Some(Ok(chunk)) = bytes.next().await {
                let now = Instant::now();
                text.push_str(&String::from_utf8_lossy(&chunk));
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    if let Some(key) = opened(&event) {
                        let mut seen = seen.lock().expect("no writer panics");
                        seen.entry(key.to_owned()).or_insert(now);
                    }
                }
            }
        }))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.lock().expect("no writer panics").len() as u64
    }

    /// When the incident of `service` was seen.
    pub(crate) fn when(&self, service: &str) -> Option<Instant> {
        let seen = self.0.lock().expect("no writer panics");
        seen.get(&format!("service={service}")).copied()
    }
}

/// The correlation key of an incident that the event says was opened.
fn opened(event: &str) -> Option<&str> {
    if !event.contains("event: incident.opened\n") {
        return None;
    }
    let (_, rest) = event.split_once(r#""correlation_key":""#)?;
    rest.split_once('"').map(|(key, _)| key)
}
