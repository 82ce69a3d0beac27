//! The engine behind the gate. Every request is written anew, on a connection of its own.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::timeout};

/// Most of an answer that is held in memory. A list of many containers is large; logs are not held.
const MOST_ANSWER: usize = 32 * 1024 * 1024;

/// What the client gets: ours, or the engine's as it comes.
pub(super) type Body = Either<Full<Bytes>, Incoming>;

/// The engine's socket.
#[derive(Clone, Debug)]
pub(super) struct Upstream(PathBuf);

/// What the engine answered, as far as it is handed on.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    kind: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Nobody knows what the engine did. The client must not know either: its connection is broken, so
/// that it looks again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("no connection to the engine")]
    Connect(#[source] std::io::Error),
    #[error("the engine broke the connection")]
    Engine(#[source] hyper::Error),
    #[error("the engine's answer cannot be read")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the engine's answer is not what it should be")]
    Json(#[source] serde_json::Error),
    #[error("no answer of the engine in {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the client's request cannot be read")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the client does not send what it announced")]
    Slow,
    #[error("the gate is stopping")]
    Stopping,
}

impl Upstream {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self(socket)
    }

    /// Asks, and takes the whole answer within `limit`.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        limit: Duration,
    ) -> Result<Answer, Broken> {
        let work = async {
            let (parts, body) = self.send(method, path, body).await?.into_parts();
            let body = Limited::new(body, MOST_ANSWER).collect().await;
            Ok(Answer {
                status: parts.status,
                kind: parts.headers.get(CONTENT_TYPE).cloned(),
                body: body.map_err(Broken::Answer)?.to_bytes(),
            })
        };
        timeout(limit, work)
            .await
            .map_err(|_| Broken::Silent(limit))?
    }

    /// Asks, and hands on the answer's body as it comes.
    pub(super) async fn stream(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<Response<Body>, Broken> {
        let answer = timeout(limit, self.send(Method::GET, path, None)).await;
        let (parts, body) = answer.map_err(|_| Broken::Silent(limit))??.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).cloned();
        Ok(respond(parts.status, kind, Either::Right(body)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Broken> {
        let socket = UnixStream::connect(&self.0)
            .await
            .map_err(Broken::Connect)?;
        let handshake = http1::handshake(TokioIo::new(socket)).await;
        let (mut sender, connection) = handshake.map_err(Broken::Engine)?;
        // It ends with the answer's body, or when nobody waits for the answer any more; what went wrong
        // is told to whoever waits.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::new(Full::<Bytes>::default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("paths are made of judged names");
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("docker"));
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Full::from(body);
        }
        sender.send_request(request).await.map_err(Broken::Engine)
    }
}

impl Answer {
    /// One of our own, worded as the engine does.
    pub(super) fn message(status: u16, message: &str) -> Self {
        let text = serde_json::json!({ "message": message }).to_string();
        Self::json(
            StatusCode::from_u16(status).expect("statuses are constants"),
            text,
        )
    }

    pub(super) fn json(status: StatusCode, text: String) -> Self {
        Self {
            status,
            kind: Some(HeaderValue::from_static("application/json")),
            body: Bytes::from(text),
        }
    }

    pub(super) fn respond(self) -> Response<Body> {
        respond(self.status, self.kind, Either::Left(Full::new(self.body)))
    }
}

fn respond(status: StatusCode, kind: Option<HeaderValue>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}
