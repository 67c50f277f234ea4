//! The command line.
//!
//! * [`args`]: the options.
//! * [`values`]: sizes and durations.
//! * `claims`: which files are used for what.
//! * `devices`: the devices of a run.
//! * [`guest`]: which guest QEMU runs.
//! * `monitor`: what runs the guest.
//! * [`run`]: `stickler run`, where a machine is assembled.
//! * [`serve`]: `stickler serve`.
//! * [`check`]: `stickler check` and `stickler merge`.
//! * [`doctor`]: `stickler doctor`.
//! * [`requirements`]: `stickler requirements`.
//! * [`keeper`]: what removes a directory if stickler is killed.
//! * [`latitudes`]: `stickler latitudes`.
//! * [`names`]: names that completions propose.
//! * [`failure`]: how stickler itself fails, and the exit codes.

pub mod args;
pub mod check;
mod claims;
mod confine;
mod devices;
pub mod doctor;
pub mod failure;
pub mod features;
pub mod given;
pub mod guest;
pub mod keeper;
pub mod latitudes;
mod monitor;
pub mod names;
pub mod requirements;
pub mod run;
pub mod serve;
pub mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use failure::{Exit, Failure};

use crate::report::schema;
use crate::say;
use crate::signals;

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    failure::report_panics();
    say::prepare();
    signals::survive_file_size_limit();
    guarded(|| dispatch(std::env::args_os().collect())).into()
}

/// Runs a command and returns its exit code, also if it panics.
fn guarded(command: impl FnOnce() -> Result<Exit, Failure>) -> Exit {
    match panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            failure::say(&failure);
            failure.exit()
        }
        // The panic hook has reported it.
        Err(_) => Exit::Internal,
    }
}

fn dispatch(arguments: Vec<OsString>) -> Result<Exit, Failure> {
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, &arguments),
    };
    match cli.command {
        Command::Run(options) => run::run(*options),
        Command::Serve(options) => serve::serve(*options),
        Command::Check(options) => check::check(*options),
        Command::Merge(options) => check::merge(options),
        Command::Doctor => doctor::show(),
        Command::Requirements(options) => print(&requirements::show(&options)?),
        Command::Latitudes(options) => print(&latitudes::show(&options)),
        Command::ReportSchema { check: false } => print(&schema::of_run()),
        Command::ReportSchema { check: true } => print(&schema::of_check()),
        Command::Keeper(options) => Ok(keeper::keep(&options)),
        Command::Man { of } => print_bytes(&man(of.as_deref())?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stickler", &mut script);
            print_bytes(&script)
        }
    }
}

/// Help and version are asked for; everything else is one sentence about what is wrong.
fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // The reader of the help may close the pipe early.
            let _ = error.print();
            Ok(Exit::Conforming)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Ok(Exit::Input)
        }
        _ => Err(Failure::Input(usage_error(error, arguments))),
    }
}

/// clap's message in one line: what is wrong and its tips, and where to read more.
fn usage_error(error: &clap::Error, arguments: &[OsString]) -> String {
    let rendered = error.render().to_string();
    let text = rendered.strip_prefix("error: ").unwrap_or(&rendered);
    let words: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        // Names that completions propose are too many for a sentence.
        .filter(|line| !line.starts_with("[possible values: ") || line.len() < 200)
        .collect();
    let words = words.join(" ").replace(" tip: ", "; ");
    let words = words.trim_end_matches(['.', ':']);
    let command = Cli::command();
    let sub = arguments
        .get(1)
        .and_then(|name| command.find_subcommand(name))
        .map_or(String::new(), |sub| format!(" {}", sub.get_name()));
    format!("{words} (see `stickler{sub} --help`)")
}

/// The man page of the program or of one subcommand.
fn man(of: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut command = Cli::command();
    command.build();
    let page = match of {
        None => command,
        Some(name) => {
            let Some(found) = command.find_subcommand(name) else {
                return Err(Failure::Input(format!(
                    "there is no subcommand '{name}': `stickler --help` lists them"
                )));
            };
            found.clone()
        }
    };
    let title = page
        .get_display_name()
        .unwrap_or(page.get_name())
        .to_owned();
    let mut roff = Vec::new();
    clap_mangen::Man::new(page)
        .title(title)
        .source(concat!("stickler ", env!("CARGO_PKG_VERSION")))
        .render(&mut roff)
        .map_err(|error| Failure::Internal(format!("cannot make the man page: {error}")))?;
    Ok(roff)
}

fn print(text: &str) -> Result<Exit, Failure> {
    print_bytes(text.as_bytes())
}

/// Prints to standard output; that its reader leaves early is no failure.
fn print_bytes(bytes: &[u8]) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Internal(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(Exit::Conforming),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help_of(arguments: &[&str]) -> String {
        Cli::try_parse_from(arguments)
            .expect_err("help is asked for")
            .render()
            .to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn panics_and_failures_become_exit_codes() {
        assert_eq!(guarded(|| Ok(Exit::Violation)), Exit::Violation);
        assert_eq!(guarded(|| Err(Failure::Input("x".into()))), Exit::Input);
        assert_eq!(guarded(|| panic!("a bug of ours")), Exit::Internal);
    }

    #[test]
    fn help() {
        insta::assert_snapshot!("help", help_of(&["stickler", "--help"]));
        insta::assert_snapshot!("help_run", help_of(&["stickler", "run", "--help"]));
    }

    #[test]
    fn man_pages_of_all_subcommands() {
        let page = String::from_utf8(man(None).unwrap()).unwrap();
        assert!(page.contains(".TH stickler 1"), "{page}");
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands() {
            let page = String::from_utf8(man(Some(sub.get_name())).unwrap()).unwrap();
            assert!(page.contains(".SH"), "{}", sub.get_name());
        }
        assert!(man(Some("nonsense")).is_err());
    }

    #[test]
    fn completions_for_all_shells_know_the_options() {
        use clap::ValueEnum;
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "stickler", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("on-violation"), "{shell}");
            // The script for fish has values of options only, and those for the others have none.
            use clap_complete::Shell::{Bash, Fish, Zsh};
            if matches!(shell, Bash | Fish | Zsh) {
                assert!(script.contains("second-instances"), "{shell}");
            }
            if matches!(shell, Bash | Zsh) {
                assert!(script.contains("status.no-clear"), "{shell}");
            }
        }
    }
}
