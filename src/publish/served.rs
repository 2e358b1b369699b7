//! Making nsd load a zone, and waiting for the proof that it did.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use crate::dns::name::Name;

use super::command::{self, first_line};
use super::query::QueryError;
use super::{Expected, Publisher, zone_argument};

/// The first pause between two looks at nsd; each is half as long again, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

impl Publisher {
    /// Has nsd read the zone's file again. Only queued when this returns: nsd says "ok" to a
    /// broken file, too.
    pub(super) async fn reload(&self, origin: &Name) -> Result<(), String> {
        let zone = zone_argument(origin);
        let said =
            command::run(&self.settings.control, &["reload", &zone], None, self.settings.limits.control_ms).await?;
        match first_line(&said.stdout) {
            Some(line) if line.starts_with("error") => Err(format!("nsd-control reload {zone}: {line}")),
            _ => Ok(()),
        }
    }

    /// Waits until nsd serves this serial. `served_before`: it served the zone until now, so that
    /// SERVFAIL means that it has read the new file and dropped the zone; no time to lose then.
    pub(super) async fn await_serial(
        &self,
        origin: &Name,
        serial: u32,
        until: Instant,
        served_before: bool,
    ) -> Result<(), String> {
        let mut pause = PAUSE_FIRST;
        loop {
            let mut dropped = false;
            let seen = match self.client.serial(origin).await {
                Ok(served) if served == serial => return Ok(()),
                Ok(served) => format!("it serves {served}"),
                Err(error) => {
                    dropped = served_before && matches!(error, QueryError::Rcode(ResponseCode::ServFail));
                    error.to_string()
                }
            };
            if dropped || Instant::now() + pause >= until {
                return Err(format!("nsd at {} did not come to serve serial {serial}: {seen}", self.client.server()));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// Waits until nsd serves these RRsets. The serial does not prove it: nsd may read another
    /// file than we write, and for a moment after a reload its old processes answer as well.
    pub(super) async fn await_rrsets(&self, expected: &[Expected], until: Instant) -> Result<(), String> {
        let mut pause = PAUSE_FIRST;
        loop {
            let Err(reason) = self.client.compare(expected, until).await else { return Ok(()) };
            if Instant::now() + pause >= until {
                return Err(reason);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// When a wait that starts now has taken too long.
    pub(super) fn served_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.limits.served_ms)
    }
}
