//! The log: text or JSON, to stderr or syslog. Nothing waits for it: lines go through a bounded queue
//! to a thread of their own. A pipe that nobody reads or a full disk costs log lines, and the log says
//! how many.

mod syslog;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::process::{LogFormat, LogTo, Process};

use super::output;
use syslog::Syslog;

/// Lines that may wait; more are lost.
const LINES_MAX: usize = 4_096;
/// How long the end may wait for what is not written yet.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// quinn warns of packets that are not as they should be, which any client can send as many of as it likes.
const DEFAULT_FILTER: &str = "info,quinn_proto=error";

/// The way in, and the thread behind it. On drop what waits is written, for a second at the most.
pub struct Log {
    lines: Lines,
    /// Until [`Log::begin`].
    waiting: Mutex<Option<(Receiver<Message>, Sink)>>,
}

/// Where log lines are put; never blocks.
#[derive(Clone)]
struct Lines {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Level, Vec<u8>),
    /// Answered when all before it is written.
    Flush(SyncSender<()>),
}

/// Where they come out; may block for ever.
trait Out: Send {
    fn write(&mut self, level: Level, line: &[u8]) -> io::Result<()>;
}

type Sink = Box<dyn Out>;

impl Log {
    /// Takes lines from now on. They are written from [`Log::begin`] on.
    pub fn start(process: &Process) -> Log {
        let sink: Sink = match process.log {
            LogTo::Stderr => Box::new(Stderr),
            LogTo::Syslog => Box::new(Syslog::default()),
        };
        let log = Log::new(sink);
        let colours = output::colours(&io::stderr());
        let text = || fmt::layer().with_target(false).with_writer(log.lines.clone());
        let layer = match (process.log_format, process.log) {
            (LogFormat::Json, _) => {
                let json = text().json().flatten_event(true).with_current_span(false).with_span_list(false);
                json.boxed()
            }
            // syslog has a time and a severity of its own.
            (LogFormat::Text, LogTo::Syslog) => text().with_ansi(false).without_time().with_level(false).boxed(),
            (LogFormat::Text, LogTo::Stderr) => text().with_ansi(colours).boxed(),
        };
        tracing_subscriber::registry().with(filter()).with(layer).init();
        // In one line, and to syslog if that is the log; stderr may hang.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panic.to_string().replace('\n', " "))));
        log
    }

    fn new(sink: Sink) -> Log {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let lines = Lines { sender, lost: Arc::default() };
        Log { lines, waiting: Mutex::new(Some((receiver, sink))) }
    }

    /// Starts the thread that writes: not before the process is who it will be, since a thread is
    /// confined by itself.
    pub fn begin(&self) {
        let Some((receiver, mut sink)) = self.waiting().take() else { return };
        let lost = Arc::clone(&self.lines.lost);
        let write = move || receiver.iter().for_each(|message| write(&mut *sink, message, &lost));
        // Without the thread there is no log, and everything else goes on.
        drop(thread::Builder::new().name("log".to_owned()).spawn(write));
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<(Receiver<Message>, Sink)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some((receiver, mut sink)) = self.waiting().take() {
            // It ends before it began: nothing else runs that could be held up.
            receiver.try_iter().for_each(|message| write(&mut *sink, message, &self.lines.lost));
            return;
        }
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let (done, written) = sync_channel(1);
        let mut flush = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.lines.sender.try_send(flush) {
            if Instant::now() >= deadline {
                return;
            }
            flush = back;
            thread::sleep(Duration::from_millis(10));
        }
        // What is not written by then never will be.
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write(sink: &mut dyn Out, message: Message, lost: &AtomicU64) {
    let (level, line) = match message {
        Message::Line(level, line) => (level, line),
        Message::Flush(done) => {
            // Whoever asked may have given up.
            let _ = done.try_send(());
            return;
        }
    };
    let missing = lost.swap(0, Ordering::Relaxed);
    if missing > 0 {
        let words = format!("{missing} log lines are lost: they came faster than they could be written\n");
        if sink.write(Level::WARN, words.as_bytes()).is_err() {
            lost.fetch_add(missing, Ordering::Relaxed);
        }
    }
    if sink.write(level, &line).is_err() {
        lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, level: *metadata.level() }
    }
}

/// One event: tracing-subscriber writes it at once.
struct Line<'a> {
    lines: &'a Lines,
    level: Level,
}

impl Write for Line<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.lines.sender.try_send(Message::Line(self.level, octets.to_vec())).is_err() {
            self.lines.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stderr;

impl Out for Stderr {
    fn write(&mut self, _: Level, line: &[u8]) -> io::Result<()> {
        io::stderr().write_all(line)
    }
}

/// For the demo: short lines, at once.
pub fn plain() {
    let log = fmt().with_env_filter(filter()).with_writer(io::stderr).with_target(false).without_time();
    log.with_ansi(output::colours(&io::stderr())).init();
}

/// `RUST_LOG` chooses what is logged.
fn filter() -> EnvFilter {
    let chosen = std::env::var("RUST_LOG").ok().filter(|chosen| !chosen.is_empty());
    let filter = EnvFilter::builder().with_default_directive(Level::INFO.into());
    filter.parse_lossy(chosen.as_deref().unwrap_or(DEFAULT_FILTER))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Tells what it was given, after it was let through.
    struct Slow {
        gate: Receiver<io::Result<()>>,
        told: Sender<String>,
    }

    impl Out for Slow {
        fn write(&mut self, _: Level, line: &[u8]) -> io::Result<()> {
            // A gate that is gone stands open.
            self.gate.recv().unwrap_or(Ok(()))?;
            self.told.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)
        }
    }

    fn log() -> (Log, Sender<io::Result<()>>, Receiver<String>) {
        let ((open, gate), (told, lines)) = (channel(), channel());
        (Log::new(Box::new(Slow { gate, told })), open, lines)
    }

    fn say(log: &Log, words: &str) {
        log.lines.make_writer().write_all(words.as_bytes()).unwrap();
    }

    #[test]
    fn a_log_that_hangs_holds_nobody_up_and_says_what_is_lost() {
        let (log, open, lines) = log();
        log.begin();
        let started = Instant::now();
        (0..LINES_MAX + 100).for_each(|number| say(&log, &number.to_string()));
        assert!(started.elapsed() < Duration::from_secs(5), "somebody has waited");
        drop(open);
        drop(log);
        let lost = |line: &String| -> Option<usize> {
            line.strip_suffix(" log lines are lost: they came faster than they could be written\n")?.parse().ok()
        };
        let (told, written): (Vec<String>, Vec<String>) = lines.iter().partition(|line| lost(line).is_some());
        let lost: usize = told.iter().filter_map(lost).sum();
        assert!(written.len() >= LINES_MAX, "what could wait was written: {}", written.len());
        assert_eq!(written.len() + lost, LINES_MAX + 100, "each line is written, or counted as lost");
        assert_eq!(written[0], "0");
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let (log, open, lines) = log();
        log.begin();
        say(&log, "first");
        open.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        drop(open);
        // Written one after the other: the first has failed when the second comes.
        say(&log, "second");
        assert_eq!(lines.recv().unwrap(), "1 log lines are lost: they came faster than they could be written\n");
        assert_eq!(lines.recv().unwrap(), "second");
    }

    #[test]
    fn the_end_waits_for_a_hung_log_for_a_second_only() {
        let (log, open, _lines) = log();
        log.begin();
        say(&log, "never written");
        let started = Instant::now();
        drop(log);
        assert!(started.elapsed() < Duration::from_secs(9));
        drop(open);
    }

    #[test]
    fn what_waits_when_nothing_began_is_written() {
        let (log, open, lines) = log();
        say(&log, "why it did not start");
        drop(open);
        drop(log);
        assert_eq!(lines.iter().collect::<Vec<_>>(), ["why it did not start"]);
    }
}
