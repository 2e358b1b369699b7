//! The verbs that ask the running daemon.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::control::api::Answer;
use crate::control::client::{Client, ClientError, exit};
use crate::control::{Exit, nagios, report, text};
use crate::director::event::{Action, Order};

use super::cli::{Form, OrderArgs, ReasonArgs};
use super::clock::unix_ms;
use super::failure::Failure;
use super::output;
use super::progress::Waiting;

/// How often a daemon is asked how far it has come.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

/// The client of the daemon that this configuration names.
pub fn connect(file: &Path) -> Result<Client, Failure> {
    Ok(Client::new(&Config::load(file)?.control))
}

pub async fn status(client: &Client, form: Form) -> Result<(), Failure> {
    let status = client.status().await?;
    match form.json {
        true => output::json(&status),
        false => output::text(&report::status(&status, unix_ms())),
    }
}

/// `status --nagios`: everything on stdout, with a plugin's exit status, also where there is no
/// daemon to ask.
pub async fn nagios(file: &Path) -> Result<(), Failure> {
    let report = match connect(file) {
        Err(failure) => nagios::unknown(&failure.to_string()),
        Ok(client) => match client.status().await {
            Ok(status) => nagios::report(&status, unix_ms()),
            // Nothing fails over: nobody watches.
            Err(error) => nagios::unreachable(&error.to_string()),
        },
    };
    output::bytes((report.line + "\n").as_bytes())?;
    match report.state {
        nagios::State::Ok => Ok(()),
        nagios::State::Warning => Err(Failure::new(Exit::Failed, Vec::new())),
        nagios::State::Critical => Err(Failure::new(Exit::Usage, Vec::new())),
        nagios::State::Unknown => Err(Failure::new(Exit::Unreachable, Vec::new())),
    }
}

pub async fn log(client: &Client, count: usize, json: bool) -> Result<(), Failure> {
    let line = |entry| match json {
        true => serde_json::to_string(entry).expect("an entry is plain data"),
        false => text::log_line(entry),
    };
    let lines: String = client.log(count).await?.iter().map(|entry| line(entry) + "\n").collect();
    output::bytes(lines.as_bytes())
}

pub async fn explain(client: &Client, pool: &str, form: Form) -> Result<(), Failure> {
    let answer = client.explain(pool).await?;
    match answer.explanation.as_ref().filter(|_| exit(&answer) == Exit::Ok) {
        None => answered(Ok(answer), form),
        Some(told) if form.json => output::json(told),
        Some(told) => output::text(&report::explanation(told, unix_ms())),
    }
}

/// Returns when the order is served, or has failed.
pub async fn order(client: &Client, action: Action, args: OrderArgs) -> Result<(), Failure> {
    // Rounded up: an order never ends before its time.
    let form = args.reason.form;
    let order = Order { action, reason: args.reason.reason, for_s: args.for_ms.map(|ms| ms.div_ceil(1_000)) };
    let waiting = Waiting::start(format!("{}: waiting until it is served", text::order_words(&order)));
    let answer = client.order(&order, &|news| waiting.tell(news)).await;
    drop(waiting);
    answered(answer, form)
}

/// The same for an order that has no end.
pub async fn take_back(client: &Client, action: Action, reason: ReasonArgs) -> Result<(), Failure> {
    order(client, action, OrderArgs { for_ms: None, reason }).await
}

pub async fn reload(client: &Client, form: Form) -> Result<(), Failure> {
    let waiting = Waiting::start("reading configuration and zones");
    let answer = client.reload().await;
    drop(waiting);
    answered(answer, form)
}

pub async fn export(client: &Client, zone: Option<&str>, form: Form) -> Result<(), Failure> {
    let waiting = Waiting::start(format!("exporting {}", zone.unwrap_or("every zone")));
    // Of one zone there is nothing to count.
    let is_counted = zone.is_none() && waiting.is_shown();
    let tell = |news: &str| waiting.tell(news);
    let answer = tokio::select! {
        answer = client.export(zone, &tell) => answer,
        never = count_exports(client, &waiting), if is_counted => match never {},
    };
    drop(waiting);
    answered(answer, form)
}

/// Shows how many zones were exported since now.
async fn count_exports(client: &Client, waiting: &Waiting) -> Infallible {
    let started_ms = unix_ms();
    loop {
        tokio::time::sleep(PROGRESS_PAUSE).await;
        let Ok(status) = client.status().await else { continue };
        let exported = status.zones.iter().filter(|zone| zone.export);
        let ended = exported.clone().filter_map(|zone| zone.last_export.as_ref());
        waiting.of(exported.count() as u64);
        waiting.at(ended.filter(|report| report.unix_ms >= started_ms).count() as u64);
    }
}

pub async fn rollback(client: &Client, zone: &str, to: Option<u32>, form: Form) -> Result<(), Failure> {
    let waiting = Waiting::start(format!("rolling {zone} back"));
    let answer = client.rollback(zone, to, &|news| waiting.tell(news)).await;
    drop(waiting);
    answered(answer, form)
}

pub async fn generations(client: &Client, zone: &str, form: Form) -> Result<(), Failure> {
    answered(client.generations(zone).await, form)
}

/// Prints an answer and ends as it says: one that is not good goes to stderr, as JSON to stdout all
/// the same.
pub fn answered(answer: Result<Answer, ClientError>, form: Form) -> Result<(), Failure> {
    let answer = answer?;
    let words = text::answer(&answer);
    let ended = exit(&answer);
    match (ended, form.json) {
        (Exit::Ok, true) => output::json(&answer),
        (Exit::Ok, false) => output::text(&words),
        (_, true) => output::json(&answer).and(Err(Failure::new(ended, Vec::new()))),
        (_, false) => Err(Failure::new(ended, vec![words.trim_end().to_owned()])),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::new(error.exit(), vec![error.to_string()])
    }
}
