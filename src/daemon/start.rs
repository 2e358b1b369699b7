//! `run`, from root to the daemon's loop: bind, become somebody else, give up what is not needed, and
//! only then threads.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::config::Config;
use crate::config::process::LogTo;

use super::account::{self, Account};
use super::confine;
use super::descriptors;
use super::failure::Failure;
use super::ground::Ground;
use super::inherit::Inherited;
use super::load;
use super::log::Log;
use super::persist::StateDir;
use super::run;
use super::serving::Serving;

/// Runs the daemon until it is told to stop.
pub fn start(file: &Path, in_shadow: bool) -> Result<(), Failure> {
    let mut inherited = Inherited::from_env();
    let config = Ground::muted(Config::load(file)?, in_shadow);
    let log = Log::start(&config.process);
    let to_syslog = config.process.log == LogTo::Syslog;
    let ended = stages(config, &mut inherited, in_shadow, &log);
    if let Err(failure) = &ended
        && to_syslog
    {
        failure.lines().iter().for_each(|line| tracing::error!("{line}"));
    }
    ended
}

/// One thread as long as it can be: rights are given up thread by thread.
fn stages(config: Config, inherited: &mut Inherited, in_shadow: bool, log: &Log) -> Result<(), Failure> {
    descriptors::raise();
    let account = Account::find(&config.process)?;
    let owner = account.as_ref().map(Account::owner);
    let serving = Serving::bind(&config, inherited, owner)?;
    inherited.left_over().iter().for_each(|line| tracing::warn!("{line}"));
    // Where only root may read the key, this is the last time.
    let certificate = load::certificate(&config)?;
    if let Some(account) = &account {
        StateDir::prepare(&config.state_dir, account.owner())?;
        account.assume()?;
        warn_of_lost_key(&config, account);
    }
    account::give_up_capabilities();
    let ground = prepare(config, serving, certificate, in_shadow)?;
    let confined = confine::apply(&ground.config, &ground.loaded, &ground.unfinished)?;
    log.begin();
    // As a task of the runtime, beside its probes: on a thread of its own each of their ends would cost a
    // switch to it and back.
    let runtime = super::runtime()?;
    let interrupted = {
        let _inside = runtime.enter();
        run::interrupted()
    };
    let daemon = runtime.spawn(run::run(ground, confined, interrupted, || {}));
    runtime.block_on(daemon).map_err(|panic| Failure::failed(panic.to_string()))?
}

/// On a runtime that ends before anything is given up, and all its threads with it.
fn prepare(
    config: Config,
    serving: Serving,
    certificate: Option<Arc<CertifiedKey>>,
    in_shadow: bool,
) -> Result<Ground, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(Ground::prepare(config, serving, certificate, in_shadow))
}

/// It is in service, but each reload reads it again: as who we are by then.
fn warn_of_lost_key(config: &Config, account: &Account) {
    for path in config.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]) {
        if let Err(error) = File::open(path) {
            let (path, user) = (path.display(), account.name());
            tracing::warn!(
                "{path}: user {user} cannot read it ({error}): a reload would be refused; give its group to {user}"
            );
        }
    }
}
