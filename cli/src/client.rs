//! The services' HTTP APIs.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::{args::Servers, error::Error};

/// A service of EventPulse, or the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Ingest,
    Rules,
    ActionRunner,
    IncidentStore,
    Registry,
}

impl Server {
    /// The four services, in the order of an alert's way.
    pub(crate) const SERVICES: [Self; 4] = [
        Self::Ingest,
        Self::Rules,
        Self::ActionRunner,
        Self::IncidentStore,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Rules => "rules",
            Self::ActionRunner => "action-runner",
            Self::IncidentStore => "incident-store",
            Self::Registry => "schema registry",
        }
    }
}

/// A client of all of them.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    servers: Servers,
}

impl Client {
    /// A client that waits `patience` for an answer's head.
    pub(crate) fn new(servers: Servers) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(40))
            .build()
            .map_err(|error| Error::Usage(format!("no HTTP client: {error}")))?;
        Ok(Self { http, servers })
    }

    /// Address of `server`, without a slash at the end.
    pub(crate) fn url(&self, server: Server) -> &str {
        let url = match server {
            Server::Ingest => &self.servers.ingest_url,
            Server::Rules => &self.servers.rules_url,
            Server::ActionRunner => &self.servers.action_runner_url,
            Server::IncidentStore => &self.servers.incident_store_url,
            Server::Registry => &self.servers.registry_url,
        };
        url.trim_end_matches('/')
    }

    /// GET as JSON.
    pub(crate) async fn get(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, Error> {
        json(server, self.fetch(server, path, query).await?).await
    }

    /// POST of JSON, answered by JSON or nothing.
    pub(crate) async fn post(
        &self,
        server: Server,
        path: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let request = self
            .http
            .request(Method::POST, self.at(server, path, &[])?)
            .json(body)
            .timeout(Duration::from_secs(40));
        json(server, self.answer(server, request).await?).await
    }

    /// POST of JSON with a bearer token.
    pub(crate) async fn post_as(
        &self,
        server: Server,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<Value, Error> {
        let request = self
            .http
            .post(self.at(server, path, &[])?)
            .bearer_auth(token)
            .json(body)
            .timeout(Duration::from_secs(40));
        json(server, self.answer(server, request).await?).await
    }

    /// PUT of text under `If-Match`, answered by JSON.
    pub(crate) async fn put_text(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
        if_match: &str,
        body: String,
    ) -> Result<Value, Error> {
        let request = self
            .http
            .put(self.at(server, path, query)?)
            .header("if-match", if_match)
            .header("content-type", "application/yaml")
            .body(body)
            .timeout(Duration::from_secs(40));
        json(server, self.answer(server, request).await?).await
    }

    /// GET as text.
    pub(crate) async fn text(&self, server: Server, path: &str) -> Result<String, Error> {
        let response = self.fetch(server, path, &[]).await?;
        let fail = |source| Error::Answer {
            server: server.name(),
            source,
        };
        response.text().await.map_err(fail)
    }

    /// GET as bytes, for who takes them apart itself.
    pub(crate) async fn bytes(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Bytes, Error> {
        let response = self.fetch(server, path, query).await?;
        let fail = |source| Error::Answer {
            server: server.name(),
            source,
        };
        response.bytes().await.map_err(fail)
    }

    /// GET of a stream of server-sent events.
    pub(crate) async fn stream(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
        last_event_id: Option<&str>,
    ) -> Result<Response, Error> {
        let mut request = self
            .http
            .get(self.at(server, path, query)?)
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        self.answer(server, request).await
    }

    /// Status and text of an answer, whatever it is.
    pub(crate) async fn probe(&self, server: Server, path: &str) -> Result<(u16, String), Error> {
        let unreachable = |source| self.unreachable(server, source);
        let response = self
            .http
            .get(self.at(server, path, &[])?)
            .timeout(Duration::from_secs(5))
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(unreachable)?;
        Ok((status, text))
    }

    /// The time of day that a server gives with an answer.
    pub(crate) async fn date(&self, server: Server) -> Option<DateTime<Utc>> {
        let url = self.at(server, "/livez", &[]).ok()?;
        let request = self.http.get(url).timeout(Duration::from_secs(5));
        let response = request.send().await.ok()?;
        let date = response.headers().get("date")?.to_str().ok()?;
        let date = DateTime::parse_from_rfc2822(date).ok()?;
        Some(date.to_utc())
    }

    /// Where that is. `path` may hold a `?query` or segments that were encoded already.
    fn at(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<reqwest::Url, Error> {
        let text = format!("{}{path}", self.url(server));
        let mut url = reqwest::Url::parse(&text)
            .map_err(|error| Error::Usage(format!("{text:?} is not a URL: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn fetch(
        &self,
        server: Server,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Response, Error> {
        let request = self
            .http
            .get(self.at(server, path, query)?)
            .timeout(Duration::from_secs(40));
        self.answer(server, request).await
    }

    async fn answer(
        &self,
        server: Server,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, Error> {
        let response = request
            .send()
            .await
            .map_err(|source| self.unreachable(server, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = ["/detail", "/title"]
            .into_iter()
            .find_map(|member| problem.pointer(member)?.as_str().map(str::to_owned));
        Err(Error::Refused {
            server: server.name(),
            status: status.as_u16(),
            detail: detail.unwrap_or(text),
        })
    }

    fn unreachable(&self, server: Server, source: reqwest::Error) -> Error {
        Error::Unreachable {
            server: server.name(),
            url: self.url(server).to_owned(),
            source: source.without_url(),
        }
    }
}

async fn json(server: Server, response: Response) -> Result<Value, Error> {
    let fail = |source| Error::Answer {
        server: server.name(),
        source,
    };
    if response.content_length() == Some(0) {
        return Ok(Value::Null);
    }
    response.json().await.map_err(fail)
}

/// `text` as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut url = reqwest::Url::parse("http://x/").expect("a URL");
    url.path_segments_mut()
        .expect("http has a path")
        .clear()
        .push(text);
    url.path().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn segments_are_one_segment() {
        assert_eq!(segment("app"), "app");
        assert_eq!(segment("*"), "*");
        assert_eq!(segment("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
