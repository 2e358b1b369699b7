//! A real terminal for what is only shown to people.

use std::process::Command;

/// A terminal of the test's own, in tmux; it ends with the test.
pub struct Terminal(tempfile::TempDir);

impl Terminal {
    /// Runs a shell's command line in so many columns and rows.
    pub fn run(command: &str, columns: u16, rows: u16) -> Terminal {
        let terminal = Terminal(tempfile::tempdir().unwrap());
        let (columns, rows) = (columns.to_string(), rows.to_string());
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, command]);
        terminal.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
        terminal
    }

    /// What tmux prints.
    pub fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-f").arg("/dev/null").arg("-S").arg(self.0.path().join("socket")).args(arguments);
        let output = command.env_remove("TMUX").env("LC_ALL", "C.UTF-8").output().expect("tmux is installed");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types a line, and the Enter behind it.
    pub fn type_line(&self, words: &str) {
        self.tmux(&["send-keys", "-l", words]);
        self.tmux(&["send-keys", "Enter"]);
    }

    /// What can be read on it now.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
