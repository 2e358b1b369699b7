//! Whom the daemon becomes once it has bound its addresses: `user` and `group`.

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

use crate::config::process::Process;

use super::failure::Failure;

/// A user with all groups, looked up and not yet become.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    /// The supplementary groups too.
    groups: Vec<Gid>,
}

impl Account {
    /// Looks the configured user up. `None`: we stay who we are. Nothing has happened yet when this
    /// fails.
    pub fn find(process: &Process) -> Result<Option<Account>, Failure> {
        let Some(name) = &process.user else { return Ok(None) };
        let unknown = |what: &str, name: &str, advice: &str| {
            Failure::usage(format!("{what} = \"{name}\": this host has no such {what}; {advice}"))
        };
        let failed = |what: &str, name: &str, error: nix::Error| {
            Failure::usage(format!("{what} = \"{name}\": cannot look it up: {}; try again", error.desc()))
        };
        let make = "make it (systemd-sysusers, useradd), or change the key";
        let user = User::from_name(name).map_err(|error| failed("user", name, error))?;
        let user = user.ok_or_else(|| unknown("user", name, make))?;
        let gid = match &process.group {
            None => user.gid,
            Some(group) => {
                let found = Group::from_name(group).map_err(|error| failed("group", group, error))?;
                found.ok_or_else(|| unknown("group", group, make))?.gid
            }
        };
        if !geteuid().is_root() {
            if (geteuid(), getegid()) == (user.uid, gid) {
                return Ok(None);
            }
            let message = "only root can become somebody else; start as root, or remove user and group";
            return Err(Failure::usage(format!("user = \"{name}\": {message}")));
        }
        if user.uid.is_root() {
            return Ok(None);
        }
        let groups = groups_of(name, gid).map_err(|error| failed("user", name, error))?;
        Ok(Some(Account { name: name.clone(), uid: user.uid, gid, groups }))
    }

    /// Owner of what the daemon makes before it is this user: user and group.
    pub fn owner(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Becomes this user, for good: real, effective and saved ids, and the groups. To be called before
    /// there are other threads.
    pub fn assume(&self) -> Result<(), Failure> {
        let failed = |what: &str, error: nix::Error| {
            Failure::failed(format!("cannot become user {}: {what}: {}", self.name, error.desc()))
        };
        become_user(self).map_err(|error| failed("setting the ids", error))?;
        // A way back would be none.
        if nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
            return Err(Failure::failed(format!("cannot become user {}: the way back to root stays open", self.name)));
        }
        Ok(())
    }
}

#[cfg(not(target_vendor = "apple"))]
fn groups_of(name: &str, gid: Gid) -> nix::Result<Vec<Gid>> {
    // A name from the user database holds no NUL.
    let name = std::ffi::CString::new(name).map_err(|_| nix::Error::EINVAL)?;
    nix::unistd::getgrouplist(&name, gid)
}

#[cfg(not(target_vendor = "apple"))]
fn become_user(account: &Account) -> nix::Result<()> {
    nix::unistd::setgroups(&account.groups)?;
    nix::unistd::setresgid(account.gid, account.gid, account.gid)?;
    nix::unistd::setresuid(account.uid, account.uid, account.uid)
}

/// macOS is for trying things out: its groups come from a directory service.
#[cfg(target_vendor = "apple")]
fn groups_of(_: &str, gid: Gid) -> nix::Result<Vec<Gid>> {
    Ok(vec![gid])
}

#[cfg(target_vendor = "apple")]
fn become_user(account: &Account) -> nix::Result<()> {
    nix::unistd::setgid(account.gid)?;
    nix::unistd::setuid(account.uid)
}

/// What a user who is not root was given to bind port 53 has done its work: neither we nor the
/// programs that we run need it any longer. Root keeps what it has: it was asked to stay root.
pub fn give_up_capabilities() {
    #[cfg(target_os = "linux")]
    if !geteuid().is_root() {
        use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        // The ambient set goes with the permitted one (capabilities(7)).
        let given_up = capabilities(None).and_then(|held| match held.permitted.is_empty() {
            true => Ok(()),
            false => set_capabilities(None, sets),
        });
        if let Err(error) = given_up {
            tracing::warn!("cannot give up capabilities, programs that are run inherit them: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(user: &str, group: Option<&str>) -> Process {
        Process { user: Some(user.to_owned()), group: group.map(str::to_owned), ..Process::default() }
    }

    #[test]
    fn an_unknown_name_is_one_line_and_exit_2() {
        for (process, wanted) in [
            (process("no-such-user", None), "user = \"no-such-user\": this host has no such user; make it"),
            (process("root", Some("no-such-group")), "group = \"no-such-group\": this host has no such group; make it"),
        ] {
            let failure = Account::find(&process).unwrap_err();
            assert_eq!((failure.exit, failure.lines().len()), (crate::control::Exit::Usage, 1));
            assert!(failure.to_string().starts_with(wanted), "{failure}");
        }
    }

    #[test]
    fn who_is_there_already_needs_nothing() {
        assert_eq!(Account::find(&Process::default()).unwrap(), None);
        let me = User::from_uid(geteuid()).unwrap().expect("somebody runs the tests");
        assert_eq!(Account::find(&process(&me.name, None)).unwrap(), None);
    }

    #[test]
    fn only_root_becomes_somebody_else() {
        let other = if geteuid().is_root() { "nobody" } else { "root" };
        match Account::find(&process(other, None)) {
            Ok(account) => assert_eq!(account.expect("root may").name(), "nobody"),
            Err(failure) => assert!(failure.to_string().contains("only root can become"), "{failure}"),
        }
    }
}
