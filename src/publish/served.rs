//! Making nsd load a zone, and waiting for the proof that it did.

use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::time::Instant;

use crate::dns::name::Name;

use super::query::{Client, Mismatch, QueryError};
use super::{Expected, Publisher, zone_argument};

/// The first pause between two looks at nsd; each is a quarter longer, up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);

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
    /// as well. The reason names the first RRset that differs, if one was seen.
    pub(super) async fn await_rrsets(&self, expected: &[Expected], until: Instant) -> Result<(), String> {
        // A comparison that is under way may end: a million RRsets take longer than nsd may differ.
        let settled = until.min(Instant::now() + Duration::from_millis(self.settings.limits.settle_ms));
        for client in &self.clients {
            let mut pause = PAUSE_FIRST;
            let mut seen: Option<String> = None;
            while let Err(mismatch) = client.compare(expected, until).await {
                let reason = match mismatch {
                    Mismatch::Differs(reason) => seen.insert(reason).clone(),
                    Mismatch::Query(error) => {
                        let error = format!("nsd at {}: {error}", client.server());
                        seen.as_ref().map_or(error.clone(), |seen| format!("{seen}; asked again, {error}"))
                    }
                };
                if Instant::now() + pause >= settled {
                    return Err(reason);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 5 / 4).min(PAUSE_MAX);
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
        pause = (pause * 5 / 4).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use domain::base::iana::Rtype;

    use super::*;
    use crate::publish::{Control, Limits, NsdSettings};

    /// Answers the first connection with 192.0.2.9, and no other.
    async fn wrong_then_silent(listener: TcpListener) {
        let (mut first, _) = listener.accept().await.unwrap();
        let length = first.read_u16().await.unwrap();
        let mut query = vec![0; usize::from(length)];
        first.read_exact(&mut query).await.unwrap();
        let mut answer = Message::from_vec(&query).unwrap().into_response();
        answer.metadata.authoritative = true;
        let name = answer.queries[0].name.clone();
        answer.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 9))));
        let answer = answer.to_vec().unwrap();
        first.write_u16(answer.len() as u16).await.unwrap();
        first.write_all(&answer).await.unwrap();
        let _silent = listener.accept().await.unwrap();
        std::future::pending().await
    }

    #[tokio::test]
    async fn the_reason_names_what_differs_even_if_nsd_falls_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(wrong_then_silent(listener));
        let publisher = Publisher::new(NsdSettings {
            address,
            verify: Vec::new(),
            control: Control::Program(Vec::new()),
            checkzone: Vec::new(),
            state_dir: "/nonexistent".into(),
            limits: Limits { settle_ms: 150, query_ms: 100, ..Limits::default() },
        });
        let owner = "www.foo.zone.".parse().unwrap();
        let expected = [Expected { owner, rtype: Rtype::A, addresses: vec!["192.0.2.1".parse().unwrap()] }];
        let reason = publisher.await_rrsets(&expected, publisher.served_deadline()).await.unwrap_err();
        let wanted = "www.foo.zone. A is 192.0.2.9 at nsd, not 192.0.2.1; asked again, nsd at 127.0.0.1:";
        assert!(reason.starts_with(wanted) && reason.ends_with("no answer in time"), "{reason}");
    }
}
