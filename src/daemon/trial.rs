//! `notify test`: a test record to each destination, at once and once.

use std::cell::RefCell;
use std::time::Instant;

use crate::config::Config;
use crate::config::problem::did_you_mean;
use crate::notify::courier;
use crate::notify::destination::Destination;
use crate::notify::incident::Incident;

use super::clock::unix_ms;
use super::failure::Failure;
use super::progress::Waiting;
use super::{host, notices};

/// Prints what became of each, in the order of their names. Fails if one was not delivered.
pub async fn run(config: &Config, name: Option<&str>) -> Result<(), Failure> {
    let destinations = chosen(notices::destinations(&config.notify), name)?;
    let incident = Incident::test(&host(), unix_ms());
    let waiting = Waiting::start("sending");
    let pending = RefCell::new(destinations.iter().map(|destination| destination.name.as_str()).collect::<Vec<_>>());
    let attempts = destinations.iter().map(async |destination| {
        let (line, delivered) = attempt(destination, &incident).await;
        pending.borrow_mut().retain(|name| *name != destination.name);
        // A terminal that is gone is no reason to send less.
        let _ = waiting.aside(|| super::output::text(&line));
        waiting.tell(&pending.borrow().join(", "));
        delivered
    });
    waiting.tell(&pending.borrow().join(", "));
    let ended = futures_util::future::join_all(attempts).await;
    drop(waiting);
    let undelivered = ended.iter().filter(|delivered| !**delivered).count();
    match undelivered {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{count} of {} not delivered", destinations.len()))),
    }
}

fn chosen(mut destinations: Vec<Destination>, name: Option<&str>) -> Result<Vec<Destination>, Failure> {
    let Some(name) = name else {
        return match destinations.is_empty() {
            true => Err(Failure::usage("nobody is notified; add [notify.NAME] with mail, webhook or exec")),
            false => Ok(destinations),
        };
    };
    let known: Vec<String> = destinations.iter().map(|destination| destination.name.clone()).collect();
    destinations.retain(|destination| destination.name == name);
    if destinations.is_empty() {
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        let hint = hint.unwrap_or_else(|| format!("add [notify.{name}]"));
        return Err(Failure::usage(format!("notify `{name}` is not configured; {hint}")));
    }
    Ok(destinations)
}

/// One attempt: its line, and whether it was delivered.
async fn attempt(destination: &Destination, incident: &Incident) -> (String, bool) {
    let started = Instant::now();
    let ended = courier::attempt(destination, incident).await;
    let (name, ms) = (&destination.name, started.elapsed().as_millis());
    let line = match &ended {
        Ok(()) => format!("ok      {name} delivered [{ms} ms]\n"),
        Err(failed) => format!("failed  {name} {failed} [{ms} ms]\n"),
    };
    (line, ended.is_ok())
}
