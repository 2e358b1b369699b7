//! What the service manager and its signals have to do with us.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells a service manager that waits for it (systemd, `Type=notify`) that we answer.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// Tells it that we are about to end.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// Tells a service manager that wants to know (systemd, `WatchdogSec=`) that the daemon's loop turns:
/// from the loop itself, so that one that hangs is silent, and we are started again.
pub struct Watchdog {
    /// Half of the time after which it would be impatient; absent: nobody wants to know.
    every: Option<Duration>,
    told: Instant,
}

impl Watchdog {
    pub fn from_env() -> Watchdog {
        Watchdog { every: sd_notify::watchdog_enabled().map(|limit| limit / 2), told: Instant::now() }
    }

    /// When the loop must turn at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.every.map(|every| self.told + every)
    }

    /// The loop has turned.
    pub fn turned(&mut self) {
        let now = Instant::now();
        if self.due().is_some_and(|due| due <= now) {
            self.told = now;
            tell(NotifyState::Watchdog);
        }
    }
}

/// SIGHUP: read everything again.
pub struct Hangups(Option<Signal>);

pub fn hangups() -> Hangups {
    Hangups(signal(SignalKind::hangup()).ok())
}

impl Hangups {
    /// The next one; for ever where there is no such signal.
    pub async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}
