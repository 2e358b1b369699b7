//! `watch`: asks the daemon every second, reads the keys, draws the screen. Ends with q, Escape or
//! Ctrl-C, and leaves the terminal as it was, whatever ends it.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::control::client::{Client, ClientError};
use crate::control::log::Entry;
use crate::control::watch::{LOG_MAX, Screen};
use crate::director::status::Status;

use super::clock::unix_ms;
use super::failure::Failure;
use super::{client, output, run};

/// How often the daemon is asked and the screen is drawn anew.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the daemon said.
type News = Result<(Status, Vec<Entry>), ClientError>;

pub fn run(file: &Path) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "watch needs a terminal; `status` prints the same once, `status --json` for programs",
        ));
    }
    let client = client::connect(file)?;
    let runtime = super::runtime()?;
    let mut terminal = ratatui::try_init()?;
    let ended = runtime.block_on(watch(&mut terminal, client));
    ratatui::restore();
    // The thread that reads the keys may sit in its call for ever.
    runtime.shutdown_background();
    ended
}

async fn watch(terminal: &mut DefaultTerminal, client: Client) -> Result<(), Failure> {
    let mut screen = Screen::new(&super::host(), output::colours(&io::stdout()));
    let (mut news, mut keys) = (ask(client), read_keys());
    let mut beat = tokio::time::interval(INTERVAL);
    let mut interrupted = std::pin::pin!(run::interrupted());
    loop {
        terminal.draw(|frame| screen.draw(frame, unix_ms()))?;
        tokio::select! {
            () = &mut interrupted => return Ok(()),
            _ = beat.tick() => {}
            Some(heard) = news.recv() => match heard {
                Ok((status, log)) => screen.hear(status, log, unix_ms()),
                Err(error) => screen.miss(&error),
            },
            event = keys.recv() => match event {
                // Any other event, a resize above all: draw again.
                Some(Event::Key(key)) if press(&mut screen, key) => return Ok(()),
                Some(_) => {}
                // No terminal any more.
                None => return Ok(()),
            },
        }
    }
}

/// True: it is over.
fn press(screen: &mut Screen, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Down | KeyCode::Char('j') => screen.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => screen.scroll(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => screen.scroll(screen.page()),
        KeyCode::PageUp => screen.scroll(-screen.page()),
        KeyCode::Home => screen.to_top(),
        KeyCode::End => screen.scroll(isize::MAX),
        _ => {}
    }
    false
}

/// What the daemon says, once in a while; a daemon that is gone is asked again.
fn ask(client: Client) -> mpsc::Receiver<News> {
    let (sender, news) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(INTERVAL);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let both = async { Ok((client.status().await?, client.log(LOG_MAX).await?)) };
            if sender.send(both.await).await.is_err() {
                return;
            }
        }
    });
    news
}

/// The terminal's events, from a thread that waits for them.
fn read_keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}
