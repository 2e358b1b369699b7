//! argv to daemon or client.

use std::process::ExitCode;

fn main() -> ExitCode {
    nsd_failover::daemon::main()
}
