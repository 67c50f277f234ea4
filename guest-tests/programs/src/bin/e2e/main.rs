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

    /// This machine's processors are emulated: a test that fails is run again
    ///
    /// A virtual machine in an emulated one at times loses a processor, which then faults or stands
    /// still; so a test that fails is run again, up to twice, and that is said. What stickler itself does
    /// wrong, it does again.
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
    },
    /// Run one test, and say nothing but how it went
    One {
        /// Where the guests' kernels and images are
        dir: PathBuf,
        /// The test's whole name
        name: String,
    },
    /// Print the names of the tests
    List {
        /// Only tests with one of these words in their names
        only: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let emulated = arguments.emulated;
    match arguments.task {
        Task::Demo { dir } => match demo::run(&arguments.stickler, &dir, emulated) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the demo failed: {error:#}");
                ExitCode::FAILURE
            }
        },
        Task::Test { dir, only } => {
            suite::run(&suite::chosen(&only), &arguments.stickler, &dir, emulated)
        }
        Task::One { dir, name } => suite::run_named(&name, &arguments.stickler, &dir, emulated),
        Task::List { only } => {
            for test in suite::chosen(&only) {
                println!("{}", test.name);
            }
            ExitCode::SUCCESS
        }
    }
}
