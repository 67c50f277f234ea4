//! Development tasks: `cargo xtask demo`, `cargo xtask test`, `cargo xtask lint`, `cargo xtask lab`,
//! `cargo xtask fuzz`, `cargo xtask emulators`.

mod debian;
mod demo;
mod emulated;
mod emulators;
mod fuzz;
mod gates;
mod guest;
mod host;
mod kernel;
mod lab;
mod lines;
mod process;
mod progress;
mod test;
mod userland;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::workspace::Workspace;

/// Development tasks of stickler.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
enum Task {
    Demo(demo::DemoArguments),
    Test(test::TestArguments),
    Lint(gates::rules::LintArguments),
    Lab(lab::LabArguments),
    Fuzz(fuzz::FuzzArguments),
    Emulators(emulated::EmulatorsArguments),
}

fn main() -> ExitCode {
    let result = Workspace::find().and_then(|workspace| match Task::parse() {
        Task::Demo(arguments) => demo::command(&arguments, &workspace),
        Task::Test(arguments) => test::command(&arguments, &workspace),
        Task::Lint(arguments) => gates::rules::command(&arguments, &workspace),
        Task::Lab(arguments) => lab::command(arguments, &workspace),
        Task::Fuzz(arguments) => fuzz::command(&arguments, &workspace),
        Task::Emulators(arguments) => emulated::command(&arguments, &workspace),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            // No command of ours, and not stickler, uses this exit code.
            ExitCode::from(125)
        }
    }
}
