//! Running tests and saying how they went.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::tests;

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

/// The tests with one of the `words` in their names, or all if there is no word.
pub(crate) fn chosen(words: &[String]) -> Vec<Test> {
    let wanted =
        |test: &Test| words.is_empty() || words.iter().any(|word| test.name.contains(word));
    tests::all().into_iter().filter(wanted).collect()
}

/// Runs `tests`, and says how many passed.
pub(crate) fn run(tests: &[Test], stickler: &Path, dir: &Path, emulated: bool) -> ExitCode {
    println!("running {} end-to-end tests", tests.len());
    let failed: Vec<&Test> = tests
        .iter()
        .filter(|test| !passes(test, stickler, dir, emulated))
        .collect();
    for test in &failed {
        println!("failed: {}", test.name);
    }
    println!(
        "{} passed, {} failed",
        tests.len() - failed.len(),
        failed.len()
    );
    // A word that no name has is a mistake.
    if failed.is_empty() && !tests.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the test of this name.
pub(crate) fn run_named(name: &str, stickler: &Path, dir: &Path, emulated: bool) -> ExitCode {
    let Some(test) = tests::all().into_iter().find(|test| test.name == name) else {
        eprintln!("there is no test {name}");
        return ExitCode::from(2);
    };
    ExitCode::from(u8::from(!passes(&test, stickler, dir, emulated)))
}

/// How often a test is tried on an emulated machine. The long ones, in which a guest stands still for
/// seconds, failed in about one try of six.
const EMULATED_TRIES: u32 = 3;

/// Runs a test and says how it went.
fn passes(test: &Test, stickler: &Path, dir: &Path, emulated: bool) -> bool {
    let since = Instant::now();
    let mut result = run_one(test, stickler, dir);
    for _ in 1..if emulated { EMULATED_TRIES } else { 1 } {
        let Err(error) = &result else { break };
        println!("test {} ... once more; it failed:", test.name);
        print_indented(error);
        result = run_one(test, stickler, dir);
    }
    let seconds = since.elapsed().as_secs();
    match &result {
        Ok(()) => println!("test {} ... ok ({seconds} s)", test.name),
        Err(error) => {
            println!("test {} ... FAILED ({seconds} s)", test.name);
            print_indented(error);
        }
    }
    result.is_ok()
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
