//! Programs that take a notification on stdin: sendmail, and what `exec` names.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::courier::Undelivered;
use super::incident::Incident;

/// So much is read of what a program says on stderr, in octets.
const STDERR_MAX: u64 = 64 * 1024;

/// The most useful of an incident for a script that does not read JSON.
pub fn environment(incident: &Incident) -> Vec<(&'static str, String)> {
    let kinds: Vec<&str> = incident.kinds.iter().map(|kind| kind.as_str()).collect();
    let first = incident.moves.first();
    let name = |node: Option<&Option<String>>| node.cloned().flatten().unwrap_or_default();
    let all = vec![
        ("NSD_FAILOVER_EVENTS", kinds.join(" ")),
        ("NSD_FAILOVER_SEVERITY", incident.severity.as_str().to_owned()),
        ("NSD_FAILOVER_SUMMARY", incident.summary.clone()),
        ("NSD_FAILOVER_POOL", first.map(|told| told.pool.clone()).unwrap_or_default()),
        ("NSD_FAILOVER_FROM", name(first.map(|told| &told.from))),
        ("NSD_FAILOVER_TO", name(first.map(|told| &told.to))),
    ];
    // The system takes no variable with a NUL in it.
    all.into_iter().map(|(key, value)| (key, value.replace('\0', "\u{fffd}"))).collect()
}

/// Runs a program with `input` on stdin; any end but exit code 0 is a failure. When the caller gives
/// up, the program goes with its children.
pub async fn feed(argv: &[String], environment: &[(&str, String)], input: &[u8]) -> Result<(), Undelivered> {
    let (program, arguments) = argv.split_first().ok_or_else(|| Undelivered::for_good("no program is configured"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Undelivered::again(format!("cannot run {program}: {error}")))?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let write = async {
        // A program that does not read it all may be content with less: its exit code tells.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let mut said = Vec::new();
    let listen = async {
        let mut start = stderr.take(STDERR_MAX);
        let _ = start.read_to_end(&mut said).await;
        // The rest is thrown away, or it would hang.
        let _ = tokio::io::copy(&mut start.into_inner(), &mut tokio::io::sink()).await;
    };
    let ((), (), status) = tokio::join!(write, listen, child.wait());
    group.forget();
    let status = status.map_err(|error| Undelivered::again(format!("{program}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    Err(Undelivered::again(format!("{program}: {status}: {line}")))
}

/// A process group that is killed on drop.
struct Group(Option<Pid>);

impl Group {
    /// Its leader has ended: the number may be somebody else's soon.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended on its own in this moment.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
