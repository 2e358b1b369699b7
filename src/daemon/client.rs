//! The verbs that ask the running daemon.

use std::path::Path;

use crate::config::Config;
use crate::control::client::{Client, ClientError, exit};
use crate::control::{Exit, nagios, text};
use crate::director::event::{Action, Order};

use super::cli::{OrderArgs, ReasonArgs};
use super::clock::unix_ms;
use super::failure::Failure;

/// The client of the daemon that this configuration names.
pub fn connect(file: &Path) -> Result<Client, Failure> {
    Ok(Client::new(&Config::load(file)?.control))
}

pub async fn status(client: &Client, json: bool) -> Result<(), Failure> {
    let status = client.status().await?;
    match json {
        true => println!("{}", serde_json::to_string_pretty(&status).expect("a status is plain data")),
        false => print!("{}", text::status(&status, unix_ms())),
    }
    Ok(())
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
    println!("{}", report.line);
    match report.state {
        nagios::State::Ok => Ok(()),
        nagios::State::Warning => Err(Failure::new(Exit::Failed, Vec::new())),
        nagios::State::Critical => Err(Failure::new(Exit::Usage, Vec::new())),
        nagios::State::Unknown => Err(Failure::new(Exit::Unreachable, Vec::new())),
    }
}

pub async fn log(client: &Client, count: usize, json: bool) -> Result<(), Failure> {
    for entry in client.log(count).await? {
        match json {
            true => println!("{}", serde_json::to_string(&entry).expect("an entry is plain data")),
            false => println!("{}", text::log_line(&entry)),
        }
    }
    Ok(())
}

pub async fn explain(client: &Client, pool: &str, json: bool) -> Result<(), Failure> {
    let answer = client.explain(pool).await?;
    let Some(told) = answer.explanation.as_ref().filter(|_| exit(&answer) == Exit::Ok) else {
        return answered(Ok(answer));
    };
    match json {
        true => println!("{}", serde_json::to_string_pretty(told).expect("an explanation is plain data")),
        false => print!("{}", text::explanation(told, unix_ms())),
    }
    Ok(())
}

/// Returns when the order is served, or has failed.
pub async fn order(client: &Client, action: Action, args: OrderArgs) -> Result<(), Failure> {
    // Rounded up: an order never ends before its time.
    let order = Order { action, reason: args.reason.reason, for_s: args.for_ms.map(|ms| ms.div_ceil(1_000)) };
    answered(client.order(&order).await)
}

/// The same for an order that has no end.
pub async fn take_back(client: &Client, action: Action, reason: ReasonArgs) -> Result<(), Failure> {
    order(client, action, OrderArgs { for_ms: None, reason }).await
}

pub async fn reload(client: &Client) -> Result<(), Failure> {
    answered(client.reload().await)
}

pub async fn export(client: &Client, zone: Option<&str>) -> Result<(), Failure> {
    answered(client.export(zone).await)
}

pub async fn rollback(client: &Client, zone: &str, to: Option<u32>) -> Result<(), Failure> {
    answered(client.rollback(zone, to).await)
}

pub async fn generations(client: &Client, zone: &str) -> Result<(), Failure> {
    answered(client.generations(zone).await)
}

pub fn answered(answer: Result<crate::control::api::Answer, ClientError>) -> Result<(), Failure> {
    let answer = answer?;
    let words = text::answer(&answer);
    match exit(&answer) {
        Exit::Ok => {
            print!("{words}");
            Ok(())
        }
        failed => Err(Failure::new(failed, vec![words.trim_end().to_owned()])),
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::new(error.exit(), vec![error.to_string()])
    }
}
