//! Several labs side by side that share the work.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::machine::{Lab, Lost, Output};

/// How many labs may be lost before that is an error. A lab is lost when its machine crashes or hangs.
const MOST_LOST: usize = 6;

/// The exit code of a command that was interrupted.
const INTERRUPTED: u8 = 130;

/// What runs commands and may be lost: a lab.
pub(crate) trait CommandHost {
    /// Runs a command, calls `see` with what it writes to its standard output, and returns its exit code.
    fn run(&mut self, command: &[OsString], see: &mut dyn FnMut(&[u8])) -> Result<u8>;

    /// Brings changed files back and ends.
    fn finish(self) -> Result<()>;
}

impl CommandHost for Lab {
    fn run(&mut self, command: &[OsString], see: &mut dyn FnMut(&[u8])) -> Result<u8> {
        Lab::run(self, command, Output::See(see))
    }

    fn finish(self) -> Result<()> {
        Lab::finish(self)
    }
}

/// Runs each of `commands` in one of `count` labs that `boot` boots, and calls `see` with what it wrote
/// to its standard output. Each lab runs one command at a time. Where a lab is lost, another one runs its
/// command again.
///
/// Returns whether all commands succeeded.
///
/// # Errors
///
/// Those of a lab that does not boot or cannot bring its files back, that of the last lab of too many
/// that were lost, and an interrupt.
pub(crate) fn share<H: CommandHost>(
    commands: Vec<Vec<OsString>>,
    count: usize,
    boot: &(dyn Fn() -> Result<H> + Sync),
    see: &(dyn Fn(&str) + Sync),
) -> Result<bool> {
    let count = count.min(commands.len());
    let work = Work {
        state: Mutex::new(State {
            waiting: commands.into(),
            lost: 0,
            all_succeeded: true,
            stopped: false,
        }),
        boot,
        see,
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let labs: Vec<_> = (0..count).map(|_| scope.spawn(|| work.run())).collect();
        labs.into_iter()
            .map(|lab| {
                lab.join()
                    .unwrap_or_else(|_| Err(anyhow!("a lab's thread panicked")))
            })
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let state = work
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(state.all_succeeded)
}

/// What the labs share.
struct Work<'a, H> {
    state: Mutex<State>,
    boot: &'a (dyn Fn() -> Result<H> + Sync),
    see: &'a (dyn Fn(&str) + Sync),
}

struct State {
    waiting: VecDeque<Vec<OsString>>,
    lost: usize,
    all_succeeded: bool,
    /// Set at the first error: no lab begins another command.
    stopped: bool,
}

impl<H: CommandHost> Work<'_, H> {
    /// The work of one thread: boots labs, one after the other, until nothing waits.
    fn run(&self) -> Result<()> {
        let result = self.run_in_labs();
        if result.is_err() {
            self.with(|state| state.stopped = true);
        }
        result
    }

    fn run_in_labs(&self) -> Result<()> {
        while self.with(|state| !state.stopped && !state.waiting.is_empty()) {
            match self.run_in_one_lab() {
                Err(error) if error.is::<Lost>() => self.note_loss(error)?,
                result => return result,
            }
        }
        Ok(())
    }

    /// Runs commands until nothing waits or the lab is lost.
    fn run_in_one_lab(&self) -> Result<()> {
        let mut lab = (self.boot)()?;
        let mut result = Ok(());
        while let Some(command) = self.next() {
            let mut output = Vec::new();
            match lab.run(&command, &mut |bytes| output.extend_from_slice(bytes)) {
                Ok(INTERRUPTED) => {
                    result = Err(anyhow!("interrupted"));
                    break;
                }
                Ok(code) => {
                    (self.see)(&String::from_utf8_lossy(&output));
                    self.with(|state| state.all_succeeded &= code == 0);
                }
                Err(error) if error.is::<Lost>() => {
                    self.with(|state| state.waiting.push_front(command));
                    return Err(error);
                }
                Err(error) => {
                    (self.see)(&String::from_utf8_lossy(&output));
                    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
                    result = Err(error).with_context(|| format!("in the lab: {}", words.join(" ")));
                    break;
                }
            }
        }
        // Changed files come back even if a command failed; without those of a lab that is lost then, the
        // verdict is still known.
        match lab.finish() {
            Err(error) if error.is::<Lost>() => eprintln!("{error:#}"),
            finished => result = result.and(finished),
        }
        result
    }

    fn next(&self) -> Option<Vec<OsString>> {
        self.with(|state| {
            if state.stopped {
                None
            } else {
                state.waiting.pop_front()
            }
        })
    }

    fn note_loss(&self, error: anyhow::Error) -> Result<()> {
        let lost = self.with(|state| {
            state.lost += 1;
            state.lost
        });
        if lost >= MOST_LOST {
            return Err(error).with_context(|| format!("{lost} labs are lost"));
        }
        eprintln!("{error:#}\nthe lab itself is lost; another one goes on");
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::{Result, bail};

    use super::{CommandHost, INTERRUPTED, Lost, MOST_LOST, share};

    /// A lab whose commands say what is to become of them: an exit code, or how often the lab is lost.
    struct Pretended<'a>(&'a Mutex<BTreeMap<OsString, usize>>);

    impl CommandHost for Pretended<'_> {
        fn run(&mut self, command: &[OsString], see: &mut dyn FnMut(&[u8])) -> Result<u8> {
            let word = command[0].to_str().unwrap();
            let runs = {
                let mut runs = self.0.lock().unwrap();
                let runs = runs.entry(command[0].clone()).or_default();
                *runs += 1;
                *runs
            };
            let (kind, number) = word.split_once(' ').unwrap();
            let number: usize = number.parse().unwrap();
            match kind {
                "lost" if runs <= number => Err(Lost("hangs".into()).into()),
                "late" => bail!("its time has run out"),
                _ => {
                    see(format!("{word}\n").as_bytes());
                    Ok(if kind == "code" { number as u8 } else { 0 })
                }
            }
        }

        fn finish(self) -> Result<()> {
            Ok(())
        }
    }

    /// Runs the commands in two labs; returns the result, the output's lines sorted, and how many labs booted.
    fn run(commands: &[&str]) -> (Result<bool>, Vec<String>, usize) {
        let (runs, boots) = (Mutex::default(), AtomicUsize::new(0));
        let seen = Mutex::new(Vec::new());
        let result = share(
            commands.iter().map(|word| vec![word.into()]).collect(),
            2,
            &|| {
                boots.fetch_add(1, Ordering::Relaxed);
                Ok(Pretended(&runs))
            },
            &|output| {
                seen.lock()
                    .unwrap()
                    .extend(output.lines().map(str::to_owned))
            },
        );
        let mut seen = seen.into_inner().unwrap();
        seen.sort();
        (result, seen, boots.into_inner())
    }

    #[test]
    fn every_command_runs_once() {
        let (result, seen, boots) = run(&["code 0", "lost 0"]);
        assert!(result.unwrap());
        assert_eq!(seen, ["code 0", "lost 0"]);
        assert!(boots <= 2);
    }

    #[test]
    fn a_failed_command_fails_the_whole_and_stops_nothing() {
        let (result, seen, _) = run(&["code 3", "code 0", "lost 0"]);
        assert!(!result.unwrap());
        assert_eq!(seen, ["code 0", "code 3", "lost 0"]);
    }

    #[test]
    fn another_lab_takes_over_when_one_is_lost() {
        let (result, seen, boots) = run(&["lost 2", "lost 1", "code 0"]);
        assert!(result.unwrap());
        assert_eq!(seen, ["code 0", "lost 1", "lost 2"]);
        assert!(boots >= 4, "{boots}");
    }

    #[test]
    fn labs_are_not_lost_for_ever() {
        let (result, seen, boots) = run(&["lost 100"]);
        assert!(result.unwrap_err().to_string().contains("are lost"));
        assert!(seen.is_empty());
        assert_eq!(boots, MOST_LOST);
    }

    #[test]
    fn a_late_or_interrupted_command_ends_all() {
        let interrupted = format!("code {INTERRUPTED}");
        for (command, words) in [("late 0", "run out"), (&interrupted, "interrupted")] {
            let (result, _, _) = run(&[command, "code 0"]);
            assert!(format!("{:#}", result.unwrap_err()).contains(words));
        }
    }
}
