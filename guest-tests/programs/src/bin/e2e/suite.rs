//! Running tests and saying how they went.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

/// What a test does.
type Body = Box<dyn Fn(&Setting<'_>) -> Result<()>>;

/// A test.
pub(crate) struct Test {
    /// Its name.
    pub(crate) name: String,
    run: Body,
}

impl Test {
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl Fn(&Setting<'_>) -> Result<()> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

/// What a test has at hand.
pub(crate) struct Setting<'a> {
    /// The program to test.
    pub(crate) stickler: &'a Path,
    /// The guests' kernels and images, a directory a suite of Debian.
    pub(crate) kernels: PathBuf,
    /// The disk image with Debian's userland.
    pub(crate) userland: PathBuf,
    /// An empty directory of the test's own.
    pub(crate) scratch: PathBuf,
    /// The file for what the guest said.
    log: PathBuf,
}

impl Setting<'_> {
    /// Keeps what the guest said, for whoever looks into a failure.
    pub(crate) fn keep_log(&self, text: &str) -> Result<()> {
        fs::write(&self.log, text).context("cannot write the log")
    }
}

/// Which tests to run.
pub(crate) struct Choice<'a> {
    /// Those with one of these words in their names, or all if there is no word.
    pub(crate) only: &'a [String],
    /// But not these.
    pub(crate) but: &'a [String],
    /// This machine's processors are emulated. A virtual machine in an emulated one at times loses a
    /// processor, which then faults or stands still, and the emulated machine itself can crash (seen
    /// in about one boot of a hundred); so a test that fails is run once more, and that is said. What
    /// stickler itself does wrong, it does again.
    pub(crate) emulated: bool,
}

/// Runs the chosen tests.
pub(crate) fn run(tests: &[Test], stickler: &Path, dir: &Path, choice: &Choice<'_>) -> ExitCode {
    let Choice {
        only,
        but,
        emulated,
    } = choice;
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|test| only.is_empty() || only.iter().any(|word| test.name.contains(word)))
        .filter(|test| !but.contains(&test.name))
        .collect();
    let mut failed = Vec::new();
    println!("running {} end-to-end tests", chosen.len());
    for test in &chosen {
        let since = Instant::now();
        let mut result = run_one(test, stickler, dir);
        if let Err(error) = &result
            && *emulated
        {
            println!("test {} ... once more; it failed:", test.name);
            print_indented(error);
            result = run_one(test, stickler, dir);
        }
        let seconds = since.elapsed().as_secs();
        match result {
            Ok(()) => println!("test {} ... ok ({seconds} s)", test.name),
            Err(error) => {
                println!("test {} ... FAILED ({seconds} s)", test.name);
                print_indented(&error);
                failed.push(&test.name);
            }
        }
    }
    for name in &failed {
        println!("failed: {name}");
    }
    println!(
        "{} passed, {} failed",
        chosen.len() - failed.len(),
        failed.len()
    );
    // A word that no name has is a mistake; that nothing is left to run is none.
    if failed.is_empty() && !(chosen.is_empty() && but.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_indented(error: &anyhow::Error) {
    for line in format!("{error:#}").lines() {
        println!("    {line}");
    }
}

fn run_one(test: &Test, stickler: &Path, dir: &Path) -> Result<()> {
    let scratch = dir.join("scratch");
    fs::remove_dir_all(&scratch).ok();
    let logs = dir.join("logs");
    for dir in [&scratch, &logs] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let result = (test.run)(&Setting {
        stickler,
        kernels: dir.join("kernels"),
        userland: dir.join("userland.img"),
        scratch: scratch.clone(),
        log: logs.join(format!("{}.log", test.name)),
    });
    fs::remove_dir_all(&scratch).ok();
    result
}
