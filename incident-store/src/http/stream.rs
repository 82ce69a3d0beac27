//! Facts as they become certain: server-sent events whose ids are the stream's cursor.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt, stream};
use service_kit::http::Problem;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::{Api, Error, dto, incidents::find, query::unknown};
use crate::store::stream::{self as facts, Cursor, Streamed};

/// Facts that are read at a time.
const CHUNK: i64 = 200;
/// How often an idle stream looks for facts that other instances have stored.
const POLL: Duration = Duration::from_millis(200);

/// Every fact as it becomes certain, as server-sent events: `event` is the fact's type, `data` a
/// line of the timeline, `id` the cursor. Without `Last-Event-ID` the stream begins now. An event
/// `reset` means that the cursor is not of this database: read the lists again.
#[utoipa::path(get, path = "/api/v1/stream", tag = "incidents",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "go on after this event"),
        ("last_event_id" = Option<String>, Query, description = "the same, for clients that cannot set headers; 0 is the beginning"),
        ("incident_id" = Option<String>, Query, description = "only this incident"),
    ),
    responses((status = 200, content_type = "text/event-stream", body = dto::Entry),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stream(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let seat = Arc::clone(&api.streams)
        .try_acquire_owned()
        .map_err(|_| Error::Crowded)?;
    let (mut text, mut incident_id) = (None, None);
    for (name, value) in &pairs {
        match name.as_str() {
            "last_event_id" => text = Some(value.clone()),
            "incident_id" => incident_id = Some(find(&api, value).await?.incident.id.uuid()),
            other => return Err(unknown(other, "incident_id, last_event_id")),
        }
    }
    let header = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let text = header.map(str::to_owned).or(text);
    let (cursor, reset) = begin(&api, text.as_deref()).await?;
    let hello = reset.then(|| {
        Event::default()
            .event("reset")
            .id(cursor.to_string())
            .data("{}")
    });
    let stopping = api.shutdown.clone();
    let reader = Reader {
        api,
        cursor,
        incident_id,
        buffer: VecDeque::new(),
        _seat: seat,
    };
    let events = stream::iter(hello)
        .chain(stream::unfold(reader, Reader::next))
        .map(Ok)
        .take_until(stopping.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// Where the stream begins, and whether the client's cursor had to be given up.
async fn begin(api: &Api, text: Option<&str>) -> Result<(Cursor, bool), Error> {
    let mut conn = api.connection().await?;
    let horizon = facts::horizon(&mut conn).await?;
    let now = Cursor {
        xid: horizon.oldest,
        id: 0,
    };
    let Some(text) = text else {
        return Ok((now, false));
    };
    let cursor: Cursor = text
        .parse()
        .map_err(|_| Error::Parameter(format!("Last-Event-ID {text:?} is not of this stream")))?;
    // beyond the present: given by another server before a restore
    if cursor.xid >= horizon.next {
        Ok((now, true))
    } else {
        Ok((cursor, false))
    }
}

struct Reader {
    api: Api,
    cursor: Cursor,
    incident_id: Option<Uuid>,
    buffer: VecDeque<Streamed>,
    _seat: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(mut self) -> Option<(Event, Self)> {
        let watermarks = self.api.watermarks.clone();
        loop {
            // listened for before the look: a commit in between is not missed
            let mut progress = std::pin::pin!(watermarks.progress());
            progress.as_mut().enable();
            if let Some(streamed) = self.buffer.pop_front() {
                let id = streamed.cursor.to_string();
                let entry = dto::Entry::from(streamed);
                let event = Event::default().id(id).event(&entry.event_type);
                let event = event.json_data(&entry).expect("an entry is JSON");
                return Some((event, self));
            }
            match self.read().await {
                Ok(()) if self.buffer.is_empty() => tokio::select! {
                    () = progress => {}
                    () = service_kit::clock::pause(POLL) => {}
                },
                Ok(()) => {}
                // The client comes back with its last id when the database does.
                Err(error) => {
                    tracing::warn!(error = %service_kit::error::chain(&error), "stream ends");
                    return None;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), service_kit::Error> {
        let mut conn = self.api.connection().await?;
        let found = facts::after(&mut conn, self.cursor, self.incident_id, CHUNK).await?;
        if let Some(last) = found.last() {
            self.cursor = last.cursor;
        }
        self.buffer = found.into();
        Ok(())
    }
}
