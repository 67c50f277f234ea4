//! The `stickler` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    stickler::cli::main()
}
