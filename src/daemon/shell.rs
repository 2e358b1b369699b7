//! `completions SHELL` and `man`: made from the command line's own definition.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;

use super::cli::Cli;
use super::failure::Failure;

/// The completion script for a shell, to stdout.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nsd-failover", &mut script);
    super::output::bytes(&script)
}

/// The manual page of the program to stdout, or one for each verb into a folder.
pub fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return super::output::bytes(&page);
    };
    let failed =
        |error: io::Error| Failure::failed(format!("cannot write manual pages to {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)?;
    writeln!(io::stderr(), "manual pages written to {}", folder.display())?;
    Ok(())
}
