//! Linux: landlock(7), as much of it as the kernel has.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::Reach;
use crate::daemon::failure::Failure;

/// Programs that we run are confined as we are, and gain no rights by a set-uid bit.
pub const IS_INHERITED: bool = true;
/// What this file was written against. Later kernels know more, and are asked for no more: a right
/// that nobody has tested with is not taken away.
const KNOWN: ABI = ABI::V6;

/// Confines this thread and all that it starts. The words say how far the kernel went along; the
/// inner error says why it did not at all.
pub fn apply(reach: &Reach) -> Result<Result<String, String>, Failure> {
    let created = ruleset(reach).and_then(|created| created.restrict_self());
    let status = created.map_err(|error| Failure::failed(format!("cannot confine the daemon (landlock): {error}")))?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => format!("{effective_abi:?}"),
        LandlockStatus::NotEnabled => return Ok(Err("landlock is disabled in this kernel".to_owned())),
        _ => return Ok(Err("this kernel has no landlock".to_owned())),
    };
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("confined (landlock {abi})")),
        RulesetStatus::PartiallyEnforced => Ok(format!("confined as far as this kernel can (landlock {abi})")),
        RulesetStatus::NotEnforced => Err("this kernel has no landlock".to_owned()),
    })
}

fn ruleset(reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    let looking = AccessFs::from_read(KNOWN);
    let changing = AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?;
    if reach.read.is_some() {
        // Everything listens already: no port is bound from here on. Programs of others may have to.
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    }
    let mut created = ruleset.create()?;
    match &reach.read {
        None => created = allow(created, Path::new("/"), looking)?,
        Some(paths) => {
            for path in paths.iter().chain(&reach.programs) {
                created = allow(created, path, looking)?;
            }
        }
    }
    for path in &reach.write {
        created = allow(created, path, looking | changing)?;
    }
    created = allow(created, &reach.unlink, AccessFs::RemoveFile.into())?;
    allow(created, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)
}

/// A path that is not there needs no rule.
fn allow(created: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(created) };
    let is_file = path.metadata().is_ok_and(|metadata| !metadata.is_dir());
    let access = if is_file { access & AccessFs::from_file(KNOWN) } else { access };
    created.add_rule(PathBeneath::new(opened, access))
}
