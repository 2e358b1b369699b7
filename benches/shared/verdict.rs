//! Whether the figures that a bench measured are those to be held: a line for each, and the exit code.

use std::process::ExitCode;

#[derive(Default)]
pub struct Verdict {
    missed: usize,
}

impl Verdict {
    /// `found` must not be more than `limit`; both are in `unit`.
    pub fn at_most(&mut self, what: &str, found: f64, limit: f64, unit: &str) {
        let held = found <= limit;
        self.missed += usize::from(!held);
        let word = if held { "held" } else { "NOT held" };
        println!("{word}: {what}: {found:.2}{unit}, at most {limit:.2}{unit}");
    }

    /// 1 where something was not held.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.missed > 0))
    }
}
