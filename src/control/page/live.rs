//! The page kept true by server-sent events: the changed part whenever the status has changed, and
//! a beat that says how old it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::control::api::{Handle, unix_ms};

use super::{Asked, LOG_MAX, Source, news};

/// Pages kept live at a time. The others must leave room on the listener for scrapers and people:
/// more readers fall back to asking now and then.
const VIEWERS_MAX: usize = 16;
/// Least time between two updates of a page.
const GAP: Duration = Duration::from_secs(1);
/// The same where all rows are on the page; shorter than [`BEAT`].
const GAP_MORE: Duration = Duration::from_secs(4);
/// Without news the reader hears at least this often that the daemon is there.
const BEAT: Duration = Duration::from_secs(5);

/// Who watches, and when they have to go.
#[derive(Clone)]
pub struct Viewers {
    places: Arc<Semaphore>,
    ended: watch::Receiver<bool>,
}

impl Viewers {
    /// `ended` becomes true (or closes) when the listener ends.
    pub fn new(ended: watch::Receiver<bool>) -> Viewers {
        Viewers { places: Arc::new(Semaphore::new(VIEWERS_MAX)), ended }
    }
}

/// A stream of events, or none where too many watch already.
pub fn events(
    handle: Handle,
    viewers: &Viewers,
    asked: Asked,
) -> Option<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>> {
    let place = viewers.places.clone().try_acquire_owned().ok()?;
    let viewer = Viewer {
        status: handle.status.clone(),
        handle,
        ended: viewers.ended.clone(),
        gap: if asked.wants_more() { GAP_MORE } else { GAP },
        asked,
        next: Instant::now(),
        first: true,
        _place: place,
    };
    Some(Sse::new(futures_util::stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok(event), viewer))
    })))
}

struct Viewer {
    handle: Handle,
    status: watch::Receiver<Arc<crate::director::status::Status>>,
    ended: watch::Receiver<bool>,
    asked: Asked,
    gap: Duration,
    /// Not before this.
    next: Instant,
    first: bool,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next event; `None`: it is over.
    async fn next(&mut self) -> Option<Event> {
        let (ended, status, gap_ends, first) = (&mut self.ended, &mut self.status, self.next, self.first);
        let changed = async {
            tokio::time::sleep_until(gap_ends).await;
            if first { true } else { status.changed().await.is_ok() }
        };
        let changed = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => return None,
            changed = tokio::time::timeout(BEAT, changed) => changed,
        };
        match changed {
            Err(_) => Some(self.beat()),
            Ok(false) => None,
            Ok(true) => {
                self.first = false;
                self.next = Instant::now() + self.gap;
                Some(self.page())
            }
        }
    }

    fn page(&mut self) -> Event {
        let status = self.status.borrow_and_update().clone();
        let log = self.handle.log.last(LOG_MAX);
        let source = Source { status: &status, log: &log, host: &self.handle.host, now_unix_ms: unix_ms() };
        Event::default().event("page").data(news(&source, &self.asked).to_string())
    }

    fn beat(&self) -> Event {
        let age_ms = unix_ms().saturating_sub(self.status.borrow().unix_ms);
        Event::default().event("beat").data(serde_json::json!({ "age_ms": age_ms }).to_string())
    }
}
