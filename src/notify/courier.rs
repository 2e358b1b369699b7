//! Delivers to one destination, one incident after the other, with a deadline for each attempt.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::fs::OpenOptions;
use tokio::io::AsyncReadExt;

use super::destination::{Destination, Via, Way};
use super::incident::Incident;
use super::queue::Queue;
use super::schedule::Schedule;
use super::{mail, program, webhook};

/// Of a file with a secret no more than this is read, in octets.
const SECRET_FILE_MAX: u64 = 64 * 1024;

/// Why an attempt failed. Holds no secret: it is logged.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Undelivered {
    pub reason: String,
    /// It will fail again: nothing is gained by another attempt.
    pub for_good: bool,
}

impl Undelivered {
    pub fn again(reason: impl Into<String>) -> Undelivered {
        Undelivered { reason: reason.into(), for_good: false }
    }

    pub fn for_good(reason: impl Into<String>) -> Undelivered {
        Undelivered { reason: reason.into(), for_good: true }
    }
}

/// Runs until the queue is closed and empty.
pub async fn run(destination: Destination, queue: Arc<Queue>) {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let name = &destination.name;
    while let Some(incident) = queue.next().await {
        let mut schedule = Schedule::new(now_ms());
        loop {
            let Err(failed) = attempt(&destination, &incident).await else {
                queue.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("notify {name}: delivered {}", incident.id);
                break;
            };
            let wait_ms = if failed.for_good { None } else { schedule.wait_ms(now_ms()) };
            let Some(wait_ms) = wait_ms else {
                queue.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!("notify {name}: given up: {failed}; it was: {}", incident.summary);
                break;
            };
            tracing::warn!("notify {name}: {failed}; again in {} s", wait_ms / 1_000);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}

/// One attempt, within its deadline.
pub async fn attempt(destination: &Destination, incident: &Incident) -> Result<(), Undelivered> {
    let limit = Duration::from_millis(destination.timeout_ms);
    let delivery = async {
        match &destination.way {
            Way::Mail(mail) => match &mail.via {
                Via::Sendmail(argv) => {
                    let message = mail::message(mail, incident)?;
                    program::feed(argv, &[], &message.formatted()).await
                }
                Via::Smtp(smtp) => mail::send(mail, smtp, incident, limit).await,
            },
            Way::Webhook(hook) => webhook::post(hook, incident, limit).await,
            Way::Exec(argv) => {
                let json = serde_json::to_vec(incident).expect("an incident is plain data");
                program::feed(argv, &program::environment(incident), &json).await
            }
        }
    };
    match tokio::time::timeout(limit, delivery).await {
        Ok(ended) => ended,
        Err(_) => Err(Undelivered::again(format!("not done within {} ms", destination.timeout_ms))),
    }
}

/// Reads a secret: the first line of a file, which is no FIFO: that would keep a thread waiting.
pub async fn secret(file: &Path) -> Result<String, Undelivered> {
    let failed = |what: String| Undelivered::again(format!("cannot read {}: {what}", file.display()));
    let unreadable = |error: io::Error| failed(error.to_string());
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file).await.map_err(unreadable)?;
    if !opened.metadata().await.map_err(unreadable)?.is_file() {
        return Err(failed("it is no regular file".to_owned()));
    }
    let mut text = String::new();
    opened.take(SECRET_FILE_MAX).read_to_string(&mut text).await.map_err(unreadable)?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(Undelivered::again(format!("{} is empty", file.display()))),
    }
}
