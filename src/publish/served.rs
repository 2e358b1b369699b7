//! Making nsd load a zone, and waiting for the proof that it did.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use crate::dns::name::Name;

use super::query::{Client, QueryError};
use super::{Expected, Publisher, zone_argument};

/// The first pause between two looks at nsd; each is half as long again, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(50);

impl Publisher {
    /// Has nsd read the zone's file again. Only queued when this returns: nsd says "ok" to a
    /// broken file, too.
    pub(super) async fn reload(&self, origin: &Name) -> Result<(), String> {
        let zone = zone_argument(origin);
        self.settings.control.order(&["reload", &zone], self.settings.limits.control_ms).await
    }

    /// Waits until nsd serves this serial at every address. `served_before`: it served the zone
    /// until now, so that SERVFAIL means that it has read the new file and dropped the zone; no
    /// time to lose then.
    pub(super) async fn await_serial(
        &self,
        origin: &Name,
        serial: u32,
        until: Instant,
        served_before: bool,
    ) -> Result<(), String> {
        for client in &self.clients {
            await_serial_at(client, origin, serial, until, served_before).await?;
        }
        Ok(())
    }

    /// Waits until nsd serves these RRsets at every address. The serial does not prove it: nsd may
    /// read another file than we write, and for a moment after a reload its old processes answer
    /// as well.
    pub(super) async fn await_rrsets(&self, expected: &[Expected], until: Instant) -> Result<(), String> {
        let until = until.min(Instant::now() + Duration::from_millis(self.settings.limits.settle_ms));
        for client in &self.clients {
            let mut pause = PAUSE_FIRST;
            while let Err(reason) = client.compare(expected, until).await {
                if Instant::now() + pause >= until {
                    return Err(reason);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 3 / 2).min(PAUSE_MAX);
            }
        }
        Ok(())
    }

    /// When a wait that starts now has taken too long.
    pub(super) fn served_deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.settings.limits.served_ms)
    }
}

async fn await_serial_at(
    client: &Client,
    origin: &Name,
    serial: u32,
    until: Instant,
    served_before: bool,
) -> Result<(), String> {
    let mut pause = PAUSE_FIRST;
    loop {
        let mut dropped = false;
        let seen = match client.serial(origin).await {
            Ok(served) if served == serial => return Ok(()),
            Ok(served) => format!("it serves {served}"),
            Err(error) => {
                dropped = served_before && matches!(error, QueryError::Rcode(ResponseCode::ServFail));
                error.to_string()
            }
        };
        if dropped || Instant::now() + pause >= until {
            return Err(format!("nsd at {} did not come to serve serial {serial}: {seen}", client.server()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}
