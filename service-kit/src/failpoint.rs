//! Named points at which a test lets a process die, as `kill -9` would.
//!
//! `EVENTPULSE_FAILPOINT=relay.acked` aborts the process when it first passes that point,
//! `relay.acked:3` at the third time. Only builds with debug assertions know of it: in a release
//! build [`pass`] is empty. `tests/e2e/failpoints.rs` dies at every point, and a structure test
//! holds its list to the sources.

/// Passes the point `name`, or dies there.
#[inline]
pub fn pass(name: &'static str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(read);

    struct Armed {
        point: String,
        /// Passages that are left, this one included.
        left: AtomicU32,
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "no setting of a service: it exists for tests alone"
    )]
    fn read() -> Option<Armed> {
        let value = std::env::var("EVENTPULSE_FAILPOINT").ok()?;
        let (point, times) = value.rsplit_once(':').unwrap_or((&value, "1"));
        Some(Armed {
            point: point.to_owned(),
            left: AtomicU32::new(times.parse().unwrap_or(1)),
        })
    }

    pub(super) fn pass(name: &str) {
        let armed = ARMED.as_ref().filter(|armed| armed.point == name);
        if armed.is_some_and(|armed| armed.left.fetch_sub(1, Ordering::Relaxed) == 1) {
            tracing::error!(failpoint = name, "dying here, as asked");
            std::process::abort();
        }
    }
}
