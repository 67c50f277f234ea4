//! End-to-end tests and the demo: runs stickler with real guests and plays the host's part: disks,
//! networks, the far sides of consoles. It runs beside stickler, on the host or in the lab.

mod demo;
mod disks;
mod peers;
mod stickler;
mod suite;
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// End-to-end tests of stickler
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,

    /// The program to test
    #[arg(long, global = true, default_value = "stickler")]
    stickler: PathBuf,

    /// This machine's processors are emulated: a test that fails is run once more
    #[arg(long, global = true)]
    emulated: bool,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Boot a guest with all devices, exercise them, and compare what both sides have
    Demo {
        /// Where the guest's kernel and image are, and where the reports go
        dir: PathBuf,
    },
    /// Run the tests
    Test {
        /// Where the guests' kernels and images are
        dir: PathBuf,
        /// Only tests with one of these words in their names
        only: Vec<String>,
        /// But not the test of this name; may be given several times
        #[arg(long, value_name = "NAME")]
        but: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.task {
        Task::Demo { dir } => match demo::run(&arguments.stickler, &dir, arguments.emulated) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the demo failed: {error:#}");
                ExitCode::FAILURE
            }
        },
        Task::Test { dir, only, but } => {
            let choice = suite::Choice {
                only: &only,
                but: &but,
                emulated: arguments.emulated,
            };
            suite::run(&tests::all(), &arguments.stickler, &dir, &choice)
        }
    }
}
