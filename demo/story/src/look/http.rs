//! GET, and what to say when there is no answer.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::until::{Link, Seen};

#[derive(Clone, Debug)]
pub(crate) struct Reader {
    http: reqwest::Client,
}

impl Reader {
    pub(crate) fn new() -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()
            .expect("a client without certificates of its own can be built");
        Self { http }
    }

    /// The JSON at `url`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        link: Link,
        url: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Seen> {
        let text = self.text(link, url, query).await?;
        serde_json::from_str(&text).map_err(|error| {
            Seen::new(
                link,
                format!("{url} answers what is not understood: {error}"),
            )
        })
    }

    pub(crate) async fn text(
        &self,
        link: Link,
        url: &str,
        query: &[(&str, &str)],
    ) -> Result<String, Seen> {
        let no_answer =
            |error: reqwest::Error| Seen::new(link, format!("{url}: {}", innermost(&error)));
        let answer = self
            .http
            .get(url)
            .query(query)
            .send()
            .await
            .map_err(no_answer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(no_answer)?;
        if status.is_success() {
            Ok(text)
        } else {
            let start: String = text.chars().take(200).collect();
            Err(Seen::new(link, format!("{url} answers {status}: {start}")))
        }
    }

    /// Who answered a request through Traefik.
    pub(crate) async fn served_by(&self, url: &str) -> Result<String, Seen> {
        let no_answer = |error: reqwest::Error| {
            Seen::new(Link::Traefik, format!("{url}: {}", innermost(&error)))
        };
        let answer = self.http.get(url).send().await.map_err(no_answer)?;
        let status = answer.status();
        let by = answer
            .headers()
            .get("x-served-by")
            .and_then(|by| by.to_str().ok());
        match by {
            Some(by) if status.is_success() => Ok(by.to_owned()),
            Some(_) | None => Err(Seen::new(Link::Traefik, format!("{url} answers {status}"))),
        }
    }
}

/// reqwest names the URL in each layer; the innermost cause says what happened.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
