//! The upstream of the configuration file: the app is not ready until it has been reached once.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the app is not ready; `None` when it is.
pub(crate) type Obstacle = Option<Arc<str>>;

/// Begins to look for `upstream`. Without one the app is ready at once.
pub(crate) fn watch_for(upstream: Option<String>) -> watch::Receiver<Obstacle> {
    let Some(upstream) = upstream else {
        return watch::channel(None).1;
    };
    let obstacle: Arc<str> = format!("cannot reach upstream {upstream}").into();
    let (sender, receiver) = watch::channel(Some(obstacle));
    tokio::spawn(async move {
        let mut tries = interval(PAUSE);
        tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tries.tick().await;
            match timeout(PATIENCE, TcpStream::connect(&upstream)).await {
                Ok(Ok(_connection)) => break,
                Ok(Err(error)) => tracing::warn!(%upstream, %error, "cannot reach upstream"),
                Err(_elapsed) => tracing::warn!(%upstream, "cannot reach upstream: no answer"),
            }
        }
        tracing::info!(%upstream, "upstream reached");
        sender.send_replace(None);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn without_an_upstream_nothing_is_in_the_way() {
        assert_eq!(*watch_for(None).borrow(), None);
    }

    #[tokio::test]
    async fn an_upstream_that_answers_clears_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let mut obstacle = watch_for(Some(address.clone()));
        let seen = obstacle.wait_for(Option::is_none);
        timeout(Duration::from_secs(10), seen)
            .await
            .expect("reached in time")
            .expect("still watched");
    }

    #[tokio::test]
    async fn an_upstream_that_does_not_exist_is_named() {
        let obstacle = watch_for(Some("cache.invalid:6379".to_owned()));
        assert_eq!(
            obstacle.borrow().as_deref(),
            Some("cannot reach upstream cache.invalid:6379")
        );
    }
}
