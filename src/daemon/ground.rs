//! What the daemon stands on before its loop begins: everything is loaded. What a crash left is cleaned
//! up beside the loop: each zone file is complete, whichever it is, and nobody waits for nsd to be answered.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::config::Config;
use crate::director::state::State;
use crate::publish::Publisher;

use super::failure::Failure;
use super::journal::Journal;
use super::load::{self, Loaded};
use super::persist::StateDir;
use super::run::publisher;
use super::serving::Serving;
use super::shadow;

pub struct Ground {
    pub config: Config,
    pub loaded: Loaded,
    pub serving: Serving,
    pub state_dir: StateDir,
    pub journal: Arc<Journal>,
    pub publisher: Option<Arc<Publisher>>,
    /// The state of the last run, or of the last shadow.
    pub saved: Option<State>,
    /// Files that an export was cut off at: of a zone, perhaps, that is no longer configured.
    pub unfinished: Vec<PathBuf>,
    /// Nothing is published; see `shadow`.
    pub in_shadow: bool,
}

impl Ground {
    /// `config` is what `serving` was bound for, `certificate` what [`load::certificate`] has read.
    pub async fn prepare(
        config: Config,
        serving: Serving,
        certificate: Option<Arc<CertifiedKey>>,
        in_shadow: bool,
    ) -> Result<Ground, Failure> {
        let state_dir = match in_shadow {
            true => StateDir::open(&shadow::state_dir(&config.state_dir))?,
            false => StateDir::open(&config.state_dir)?,
        };
        let journal = Arc::new(Journal::open(state_dir.path()));
        let publisher = publisher(&config).map(Arc::new);
        let unfinished = match &publisher {
            Some(publisher) if !in_shadow => publisher.unfinished().await,
            _ => Vec::new(),
        };
        let loading = config.clone();
        let loaded = tokio::task::spawn_blocking(move || load::load_with(&loading, certificate)).await;
        let loaded = loaded.map_err(|panic| Failure::failed(panic.to_string()))??;
        for line in &loaded.warnings {
            tracing::warn!("{line}");
        }
        let saved = state_dir.load();
        Ok(Ground { config, loaded, serving, state_dir, journal, publisher, saved, unfinished, in_shadow })
    }

    /// The configuration as it is meant with `run --shadow`.
    pub fn muted(config: Config, in_shadow: bool) -> Config {
        if in_shadow { shadow::mute(config) } else { config }
    }
}
