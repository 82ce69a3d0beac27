//! What a batch makes others hear: notifications of one episode that meet in a batch share one
//! event, which carries the occurrence number after them.

use std::collections::HashMap;

use shared_events::{AlertEvent, EpisodeId};

/// Events of one batch, in the order in which they were decided.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    events: Vec<AlertEvent>,
    /// Where the `alert.raised` of each episode stands in `events`.
    raised: HashMap<EpisodeId, usize>,
}

impl Journal {
    /// Adds what one decision says. A later `alert.raised` of an episode takes the place of the
    /// earlier one, so that it stays before the episode's `alert.resolved`.
    pub fn record(&mut self, events: Vec<AlertEvent>) {
        for event in events {
            match &event {
                AlertEvent::Raised(raised) => match self.raised.get(&raised.episode_id) {
                    Some(&place) => self.events[place] = event,
                    None => {
                        self.raised.insert(raised.episode_id, self.events.len());
                        self.events.push(event);
                    }
                },
                AlertEvent::Resolved(_) => self.events.push(event),
            }
        }
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> &[AlertEvent] {
        &self.events
    }
}
