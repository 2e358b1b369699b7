//! What the service manager and its signals have to do with us.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Tells a service manager that waits for it (systemd, `Type=notify`) that we answer.
pub fn ready() {
    tell(sd_notify::NotifyState::Ready);
}

/// Tells it that we are about to end.
pub fn stopping() {
    tell(sd_notify::NotifyState::Stopping);
}

fn tell(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify the service manager: {error}");
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
