//! The director's state on its way to disk, beside the loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::director::state::State;

use super::persist::StateDir;

/// How soon a state that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Reports that may wait for the loop.
const SAVED_MAX: usize = 16;

/// Writes states; of several that come quickly only the newest.
pub struct Saver {
    states: watch::Sender<Numbered>,
    task: tokio::task::JoinHandle<()>,
}

/// A state, and how many were handed over up to it.
type Numbered = (u64, Option<Arc<State>>);

/// What became of a state, and of all that were handed over before it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Saved {
    /// See [`Saver::newest`].
    pub number: u64,
    /// Why it is not on the disk; it is tried again.
    pub problem: Option<String>,
}

impl Saver {
    pub fn start(state_dir: StateDir) -> (Saver, mpsc::Receiver<Saved>) {
        Saver::retrying_after(RETRY, state_dir)
    }

    fn retrying_after(retry: Duration, state_dir: StateDir) -> (Saver, mpsc::Receiver<Saved>) {
        let (states, newest) = watch::channel((0, None));
        let (told, saved) = mpsc::channel(SAVED_MAX);
        let task = tokio::spawn(write_all(retry, Arc::new(state_dir), newest, told));
        (Saver { states, task }, saved)
    }

    /// Has this state written, soon.
    pub fn save(&self, state: State) {
        self.states.send_modify(|newest| *newest = (newest.0 + 1, Some(Arc::new(state))));
    }

    /// The number of the newest state; 0 as long as there is none.
    pub fn newest(&self) -> u64 {
        self.states.borrow().0
    }

    /// Ends when the newest state is written.
    pub async fn finish(self) {
        drop(self.states);
        if let Err(panic) = self.task.await {
            tracing::error!("the state was not written: {panic}");
        }
    }
}

async fn write_all(
    retry: Duration,
    state_dir: Arc<StateDir>,
    mut newest: watch::Receiver<Numbered>,
    told: mpsc::Sender<Saved>,
) {
    let mut failed = false;
    loop {
        // The last state is written even when the sender is gone already.
        let changed = match failed {
            false => newest.changed().await,
            true => tokio::time::timeout(retry, newest.changed()).await.unwrap_or(Ok(())),
        };
        if changed.is_err() {
            return;
        }
        let (number, Some(state)) = newest.borrow_and_update().clone() else { continue };
        let folder = Arc::clone(&state_dir);
        let written =
            tokio::task::spawn_blocking(move || folder.save(&*state)).await.map_err(io::Error::other).flatten();
        let problem = written.err().map(|error| {
            format!("cannot write the state to {}: {error}; make room, it is tried again", state_dir.path().display())
        });
        failed = problem.is_some();
        if let Some(problem) = &problem {
            tracing::error!("{problem}");
        }
        // The loop has ended: nobody waits for this any more.
        let _ = told.send(Saved { number, problem }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::with_serial_at_nsd(None, &"example.org.".parse().unwrap(), 7)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn tells_when_a_state_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let state_dir = StateDir::open(folder.path()).unwrap();
        runtime().block_on(async {
            let (saver, mut saved) = Saver::start(state_dir);
            assert_eq!(saver.newest(), 0);
            saver.save(state());
            saver.save(state());
            assert_eq!(saver.newest(), 2);
            assert_eq!(saved.recv().await.unwrap(), Saved { number: 2, problem: None });
            assert!(file.exists());
            saver.finish().await;
        });
    }

    #[test]
    fn a_state_that_cannot_be_written_is_told_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(folder.path()).unwrap();
        // A folder stands where the new file shall be made: nothing is written, whoever we are.
        let obstacle = folder.path().join("state.json.new");
        std::fs::create_dir(&obstacle).unwrap();
        runtime().block_on(async {
            let (saver, mut saved) = Saver::retrying_after(Duration::from_millis(5), state_dir);
            saver.save(state());
            let first = saved.recv().await.unwrap();
            assert!(first.problem.unwrap().starts_with("cannot write the state to "));
            std::fs::remove_dir(&obstacle).unwrap();
            let mut told = saved.recv().await.unwrap();
            while told.problem.is_some() {
                told = saved.recv().await.unwrap();
            }
            assert_eq!(told, Saved { number: 1, problem: None });
        });
    }
}
