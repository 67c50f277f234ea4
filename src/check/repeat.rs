//! The command that repeats a run. A seed is not enough: what the guest does, on how many processors, and what
//! becomes of its memory are drawn beside the latitudes.

use std::ffi::{OsStr, OsString};

use super::guest::Load;
use super::plan::Planned;

/// The options that all runs of a check have in common, as the user gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommonOptions {
    /// Options with their values.
    pub options: Vec<OsString>,
    /// A program of the user's, with its arguments.
    pub command: Vec<OsString>,
}

impl CommonOptions {
    /// The command that repeats `planned`, and no other run, quoted for a shell. What of a file name is not UTF-8
    /// is replaced.
    #[must_use]
    pub fn repeat(&self, planned: &Planned, load: Load) -> String {
        let own = |words: [&str; 2]| words.map(OsString::from);
        let mut words: Vec<OsString> = ["stickler", "check"].map(OsString::from).into();
        words.extend(self.options.iter().cloned());
        words.extend(own(["--latitude", &planned.choice(planned.latitudes)]));
        words.extend(own(["--cpus", &planned.exercise.processors.to_string()]));
        if load == Load::Exercise {
            let steps = planned.exercise.steps.iter().map(|step| step.name());
            let steps: Vec<&str> = steps.chain([planned.exercise.last.name()]).collect();
            words.extend(own(["--steps", &steps.join(",")]));
        }
        if !self.command.is_empty() {
            words.push("--".into());
            words.extend(self.command.iter().cloned());
        }
        let words = words.iter().map(OsString::as_os_str);
        let words = words.map(OsStr::to_string_lossy);
        shell_words::join(words)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::check::exercise::ExerciseChoice;
    use crate::check::plan::plan;
    use crate::cli::args::{Cli, Command};

    /// What is printed is a command that plans this run alone: the same devices, and the same guest.
    #[test]
    fn the_command_of_each_run_plans_the_same_run() {
        let common = CommonOptions {
            options: ["--kernel", "my kernel's/vmlinuz", "--append", "a=1 b"]
                .map(OsString::from)
                .into(),
            command: Vec::new(),
        };
        let runs = plan(&[], 1..=40, &ExerciseChoice::default(), true);
        assert!(runs.iter().any(|run| run.alone.is_some()));
        for run in runs {
            let command = common.repeat(&run, Load::Exercise);
            let words = shell_words::split(&command).unwrap();
            let Command::Check(options) = Cli::try_parse_from(words).unwrap().command else {
                panic!("{command}");
            };
            assert_eq!(
                options.kernel.as_ref().and_then(|kernel| kernel.to_str()),
                Some("my kernel's/vmlinuz")
            );
            assert_eq!(options.append, ["a=1 b"]);
            assert_eq!(options.runs, None);
            let choice = ExerciseChoice {
                steps: options.steps.clone(),
                processors: options.cpus,
                no_kexec: false,
            };
            let again = plan(&options.latitude, 0..0, &choice, true);
            let [again] = again.as_slice() else {
                panic!("{command}");
            };
            assert_eq!(again.latitudes, run.latitudes, "{command}");
            assert_eq!(again.exercise, run.exercise, "{command}");
            assert_eq!(again.alone, run.alone, "{command}");
            assert_eq!(again.freed, run.freed, "{command}");
        }
    }

    #[test]
    fn a_program_of_the_users_comes_last_and_has_no_steps() {
        let common = CommonOptions {
            options: ["--kernel", "k"].map(OsString::from).into(),
            command: ["./my test", "--fast"].map(OsString::from).into(),
        };
        let choices = ["one-vector".parse().unwrap()];
        let run = plan(&choices, 0..0, &ExerciseChoice::default(), false)
            .pop()
            .unwrap();
        assert_eq!(
            common.repeat(&run, Load::Command),
            "stickler check --kernel k --latitude one-vector --cpus 2 -- './my test' --fast"
        );
    }
}
