//! Binds, loads, spawns, carries out effects, shuts down. `main` is argv to daemon or client.

mod account;
pub mod cli;
mod client;
mod clock;
mod confine;
mod demo;
mod descriptors;
mod eject;
mod exports;
pub mod failure;
mod ground;
mod holds;
mod inherit;
mod init;
mod journal;
mod lasting;
mod listen;
mod load;
mod log;
mod looks;
mod manager;
mod notices;
mod output;
mod parent;
mod persist;
mod plan;
mod probing;
mod progress;
pub mod record;
mod recorder;
pub mod replay;
mod rights;
pub mod run;
mod saver;
mod servers;
mod serves;
mod serving;
mod shadow;
mod shell;
mod start;
mod targets;
mod transfers;
mod trial;
mod verbs;
mod waiters;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::config::Config;
use crate::director::event::Action;

use cli::{Cli, NotifyAction, Verb};
use failure::Failure;

/// The program: carries out the verb, says in a line for each thing what went wrong, and ends with
/// the exit status of DESIGN section 8.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // A verb that has said everything already has no lines.
            let mut stderr = std::io::stderr().lock();
            // Where nobody can be told, the exit status still says it.
            failure.lines().iter().for_each(|line| drop(writeln!(stderr, "{line}")));
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let file = cli.config;
    match cli.verb {
        Verb::Check { form } => verbs::check(&file, form),
        Verb::CheckZone { origin, file: zone, include_dir, print, form } => {
            let base = include_dir.unwrap_or_else(|| verbs::include_dir(&file, &origin, &zone));
            verbs::check_zone(&origin, &zone, &base, print, form)
        }
        Verb::Render { zone, primary, serial } => verbs::render(&file, &zone, &primary, serial),
        Verb::Init(args) => init::run(&args),
        Verb::Completions { shell } => shell::completions(shell),
        Verb::Man { folder } => shell::man(folder.as_deref()),
        Verb::IsPrimary { node, name, form } => runtime()?.block_on(serves::run(&file, &node, &name, form)),
        Verb::Eject { to } => runtime()?.block_on(eject::run(&file, &to)),
        Verb::Probe { node, check, form } => {
            let config = Config::load(&file)?;
            runtime()?.block_on(probing::probe(&config, &node, check.as_deref(), form))
        }
        Verb::Plan { form } => {
            let config = Config::load(&file)?;
            runtime()?.block_on(plan::plan(&config, form))
        }
        Verb::Notify { action: NotifyAction::Test { name } } => {
            let config = Config::load(&file)?;
            runtime()?.block_on(trial::run(&config, name.as_deref()))
        }
        Verb::Replay { log, form } => replay::replay(&Config::load(&file)?, &log, form),
        Verb::Run { shadow } => start::start(&file, shadow),
        Verb::Demo(demo) => match &demo.action {
            None => {
                log::plain();
                runtime()?.block_on(demo::run(&demo))
            }
            Some(action) => {
                println!("{}", runtime()?.block_on(demo::send(demo.dns, action))?);
                Ok(())
            }
        },
        Verb::Watch => watch::run(&file),
        Verb::Status { nagios: true, .. } => runtime()?.block_on(client::nagios(&file)),
        verb => {
            let client = client::connect(&file)?;
            runtime()?.block_on(ask(&client, verb))
        }
    }
}

/// The verbs that the running daemon answers.
async fn ask(client: &crate::control::client::Client, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Status { form, .. } => client::status(client, form).await,
        Verb::Explain { pool, form } => client::explain(client, &pool, form).await,
        Verb::Log { count, json } => client::log(client, count, json).await,
        Verb::Reload { form } => client::reload(client, form).await,
        Verb::Export { zone, form, .. } => client::export(client, zone.as_deref(), form).await,
        Verb::Rollback { zone, to, form } => client::rollback(client, &zone, to, form).await,
        Verb::Generations { zone, form } => client::generations(client, &zone, form).await,
        Verb::Switch { pool, node, order } => client::order(client, Action::Switch { pool, node }, order).await,
        Verb::Hold { pool, order } => client::order(client, Action::Hold { pool }, order).await,
        Verb::Drain { node, order } => client::order(client, Action::Drain { node }, order).await,
        Verb::Release { pool, order } => client::take_back(client, Action::Release { pool }, order).await,
        Verb::Ready { node, order } => client::take_back(client, Action::Ready { node }, order).await,
        Verb::Check { .. }
        | Verb::CheckZone { .. }
        | Verb::Render { .. }
        | Verb::Run { .. }
        | Verb::Demo(_)
        | Verb::Plan { .. }
        | Verb::Notify { .. }
        | Verb::Watch
        | Verb::Probe { .. }
        | Verb::Replay { .. }
        | Verb::Init(_)
        | Verb::IsPrimary { .. }
        | Verb::Completions { .. }
        | Verb::Man { .. }
        | Verb::Eject { .. } => unreachable!("`dispatch` has carried these out"),
    }
}

/// The name of this host, as far as the system tells.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))
}
