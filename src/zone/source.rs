//! Where the text of included files comes from: this room knows no file system.

use std::sync::Arc;

/// Finds the files that `$INCLUDE` names. The answer depends on the name alone, not on the file
/// that includes it: nsd and BIND count relative names from their working directory.
pub trait Source {
    /// The file of this name and what it holds, at most `limit` octets. The error is a sentence
    /// without the name in it, as in "it is not a regular file".
    fn read(&mut self, name: &str, limit: usize) -> Result<Included, String>;
}

/// An included file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Included {
    /// The file, for messages; equal for equal files, links followed.
    pub file: String,
    pub bytes: Arc<Vec<u8>>,
    /// Something to warn of: a link that leads out of the folder.
    pub remark: Option<String>,
}

/// A source for text that stands for itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSource;

impl Source for NoSource {
    fn read(&mut self, _: &str, _: usize) -> Result<Included, String> {
        Err("no other file can be read here".to_owned())
    }
}
