//! Systems that have nothing of the kind, or nothing that we know.

use super::Reach;
use crate::daemon::failure::Failure;

pub const IS_INHERITED: bool = false;

pub fn apply(_: &Reach) -> Result<Result<String, String>, Failure> {
    Ok(Err("this system has neither landlock nor pledge".to_owned()))
}
