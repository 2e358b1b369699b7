//! Progress of what takes longer than a second: on stderr, and only where that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar is drawn while nothing is heard.
const TICK: Duration = Duration::from_millis(100);

/// Something that may take long. Shown after a second, gone when it is dropped.
#[derive(Debug)]
pub struct Waiting {
    bar: ProgressBar,
    /// What is done.
    words: String,
    /// Where there is somebody to see it: who shows it in time, and what tells him that it is over.
    shower: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Waiting {
    /// Nobody knows how much there is to do.
    pub fn start(words: impl Into<String>) -> Waiting {
        let spinner = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        Waiting::shown_by(None, words.into(), spinner.expect("the template is right"))
    }

    /// `total` steps are to be done; see [`Waiting::at`].
    pub fn steps(words: impl Into<String>, total: u64) -> Waiting {
        Waiting::shown_by(Some(total), words.into(), bar_style())
    }

    fn shown_by(total: Option<u64>, words: String, style: ProgressStyle) -> Waiting {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        bar.set_style(style);
        bar.set_message(words.clone());
        if !io::stderr().is_terminal() {
            return Waiting { bar, words, shower: None };
        }
        let (over_in, over) = mpsc::channel();
        let shown = bar.clone();
        let shower = std::thread::spawn(move || {
            if over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(TICK);
            }
        });
        Waiting { bar, words, shower: Some((over_in, shower)) }
    }

    /// What it waits for now, behind the words that it began with; empty: nothing that one could name.
    pub fn tell(&self, news: &str) {
        let colon = if news.is_empty() { "" } else { ": " };
        self.bar.set_message(format!("{}{colon}{news}", self.words));
    }

    /// Has something printed that stays, while nothing is drawn in its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Whether there is somebody to see it.
    pub fn is_shown(&self) -> bool {
        self.shower.is_some()
    }

    /// Now it is known how many steps there are.
    pub fn of(&self, total: u64) {
        self.bar.set_length(total);
        self.bar.set_style(bar_style());
    }

    /// So many of the steps are done.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }
}

fn bar_style() -> ProgressStyle {
    let bar = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} ({elapsed}, {eta} left)");
    bar.expect("the template is right").progress_chars("=> ")
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((over, shower)) = self.shower.take() {
            drop(over);
            // It has nothing to panic about, and its end is all that counts.
            let _ = shower.join();
        }
        self.bar.finish_and_clear();
    }
}
