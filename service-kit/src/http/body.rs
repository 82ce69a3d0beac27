//! Request bodies that must arrive in time.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;

use crate::clock;

/// Whether a body came too late.
#[derive(Clone, Debug, Default)]
pub(super) struct Late(Arc<AtomicBool>);

impl Late {
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that fails when it is not complete after a fixed time, however it trickles.
pub(super) struct Deadline {
    inner: Body,
    alarm: Pin<Box<Sleep>>,
    late: Late,
}

impl Deadline {
    /// `body`, complete within `time` from now.
    pub(super) fn new(body: Body, time: Duration) -> (Self, Late) {
        let late = Late::default();
        let deadline = Self {
            inner: body,
            alarm: Box::pin(clock::alarm(time)),
            late: late.clone(),
        };
        (deadline, late)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the request's body did not arrive in time")]
struct TooLate;

impl HttpBody for Deadline {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match self.alarm.as_mut().poll(cx) {
            Poll::Ready(()) => {
                self.late.0.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(axum::Error::new(TooLate))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
