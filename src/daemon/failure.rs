//! How a verb fails: an exit status and the lines that say why.

use std::fmt;
use std::io;

use crate::config::problem::Problem;
use crate::control::Exit;

/// Why a verb failed; its `Display` is one line for each thing that is wrong.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    lines: Vec<String>,
}

impl Failure {
    pub fn new(exit: Exit, lines: Vec<String>) -> Failure {
        Failure { exit, lines }
    }

    /// One for each thing that is wrong.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    pub fn failed(line: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, vec![line.into()])
    }

    pub fn usage(line: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, vec![line.into()])
    }

    pub fn unreachable(line: impl Into<String>) -> Failure {
        Failure::new(Exit::Unreachable, vec![line.into()])
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Failure {
        Failure::new(Exit::Usage, problems.iter().map(ToString::to_string).collect())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::failed(error.to_string())
    }
}
