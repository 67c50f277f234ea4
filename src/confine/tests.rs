//! Each case runs in a process of its own, for a process cannot take its confinement back: this program
//! again, with the case's name in its environment.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use rustix::thread::{CapabilitySet, capabilities, gettid};
use syscalls::Sysno;

use super::{Access, ConfinedProcess, Confinement, FILTERS, Role};
use crate::cli::failure::Exit;

/// Names the case that a process is to run.
const CASE: &str = "STICKLER_CONFINED_CASE";

/// A directory that the case may use.
const DIRECTORY: &str = "STICKLER_CONFINED_DIRECTORY";

/// What a process does that is confined. The exit code is 0 if it comes to its end.
fn case(name: &str, directory: &Path) {
    let access = Access {
        written: vec![directory.join("written")],
        cleaned: vec![directory.join("cleaned")],
    };
    let process = if name.starts_with("campaign") {
        ConfinedProcess::Campaign
    } else {
        ConfinedProcess::Guest
    };
    let level = if name == "none" {
        Confinement::None
    } else {
        Confinement::Default
    };
    // What this kernel cannot do, the cases find missing.
    for sentence in level.apply(process, &access).unwrap() {
        eprintln!("{sentence}");
    }
    let (kind, rest) = name.split_once(' ').unwrap_or((name, ""));
    match kind {
        "forbidden" => {
            let (role, call) = rest.split_once(' ').unwrap();
            let role = role_named(role);
            let number: Sysno = call.parse().unwrap();
            in_role(role, move || call_with_zeroes(number));
        }
        "executable" => in_role(role_named(rest), || {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: It maps new memory somewhere.
            unsafe {
                libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_EXEC, flags, -1, 0);
            }
        }),
        "work" => {
            let role = role_named(rest);
            // As many as make the allocator ask how many processors there are.
            let all = Arc::new(Barrier::new(40));
            let threads: Vec<_> = (0..40)
                .map(|_| {
                    let all = all.clone();
                    thread::spawn(move || in_role(role, move || work(&all)))
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        "open" => in_role(role_named(rest), || {
            let opened = fs::File::open("/proc/sys/vm/overcommit_memory");
            println!(
                "open: {:?}",
                opened.err().and_then(|error| error.raw_os_error())
            );
        }),
        "files" => use_files(directory),
        "capabilities" => {
            let role = role_named(rest);
            let (sender, receiver) = mpsc::channel();
            let looked = Arc::new(Barrier::new(2));
            let waiting = looked.clone();
            let thread = thread::spawn(move || {
                in_role(role, move || {
                    sender.send(gettid()).unwrap();
                    waiting.wait();
                });
            });
            // A thread with a role cannot ask for its own any more.
            let kept = |thread| capabilities(thread).unwrap().permitted.bits();
            println!("of the thread: {}", kept(Some(receiver.recv().unwrap())));
            println!("of the main one: {}", kept(None));
            looked.wait();
            thread.join().unwrap();
        }
        "campaign-starts" => {
            let ended = Command::new("/bin/sh").args(["-c", "exit 7"]).status();
            assert_eq!(ended.unwrap().code(), Some(7));
            fs::read("/proc/self/maps").unwrap();
            use_files(directory);
        }
        "campaign-forbidden" => call_with_zeroes(Sysno::mount),
        "none" => {
            assert!(FILTERS.get().is_none());
            fs::write(directory.join("elsewhere"), "x").unwrap();
        }
        other => panic!("there is no case {other}"),
    }
}

fn role_named(name: &str) -> Role {
    Role::ALL
        .into_iter()
        .find(|role| role.name() == name)
        .unwrap()
}

/// Does `body` on a thread with the role, or on one that has none of its own.
fn in_role(role: Role, body: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        if role != Role::Main {
            role.take().unwrap();
            // Once more changes nothing.
            role.take().unwrap();
        }
        body();
    })
    .join()
    .unwrap();
}

fn call_with_zeroes(call: Sysno) {
    // SAFETY: The calls that the cases make fail with such arguments, if the kernel comes to see them.
    unsafe {
        libc::syscall(call.id().into(), 0, 0, 0, 0, 0, 0);
    }
}

/// What any thread may do.
fn work(all: &Barrier) {
    let lock = Mutex::new(vec![0_u8; 1 << 10]);
    // All of them have memory at the same time.
    all.wait();
    lock.lock().unwrap().resize(1 << 20, 1);
    thread::sleep(Duration::from_millis(1));
    println!("worked {}", lock.into_inner().unwrap().len());
}

/// Writes where it may, and not where it may not.
fn use_files(directory: &Path) {
    let report = directory.join("written/report");
    fs::write(directory.join("written/temporary"), "report").unwrap();
    fs::rename(directory.join("written/temporary"), &report).unwrap();
    fs::remove_file(directory.join("cleaned/socket")).unwrap();
    let denied = [
        fs::write(directory.join("elsewhere"), "x").is_err(),
        fs::write(directory.join("cleaned/new"), "x").is_err(),
        fs::remove_file(directory.join("precious")).is_err(),
    ];
    println!("denied {denied:?}");
    println!("reads {}", fs::read("/etc/passwd").is_ok());
}

/// The process that runs a case. As a test of its own it has nothing to do.
#[test]
fn confined_process() {
    if let (Ok(name), Some(directory)) = (std::env::var(CASE), std::env::var_os(DIRECTORY)) {
        case(&name, Path::new(&directory));
    }
}

/// Runs a case in a process, and returns how it ended.
fn run(name: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    for name in ["written", "cleaned"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    for name in ["cleaned/socket", "precious"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confine::tests::confined_process", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(CASE, name)
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails unless the case came to its end; returns its standard output.
fn passes(name: &str) -> String {
    let output = run(name);
    let errors = text(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {:?} {errors}",
        output.status
    );
    text(&output.stdout)
}

/// Whether this kernel has Landlock. Where it has none, files are not confined, and the process says so.
fn has_landlock() -> bool {
    !text(&run("work main").stderr).contains("Landlock")
}

#[test]
fn a_forbidden_call_ends_the_process_and_is_named() {
    for role in Role::ALL {
        let name = role.name();
        for call in ["ptrace", "execve", "mount", "bpf", "io_uring_setup", "fork"] {
            let output = run(&format!("forbidden {name} {call}"));
            assert_eq!(
                output.status.code(),
                Some(i32::from(Exit::Internal.code())),
                "{name} {call}"
            );
            let said = text(&output.stderr);
            let expected = format!(
                "stickler: the forbidden system call {call} in the role {name}: the process is ended\n"
            );
            assert!(said.contains(&expected), "{said}");
        }
    }
}

#[test]
fn only_the_main_thread_may_open_files() {
    for role in Role::ALL {
        let said = passes(&format!("open {}", role.name()));
        // Where Landlock keeps the main thread from it, too, that is its error.
        assert!(
            said.contains("open: Some(13)") || role == Role::Main,
            "{said}"
        );
    }
}

#[test]
fn no_memory_becomes_code() {
    for role in Role::ALL {
        let output = run(&format!("executable {}", role.name()));
        assert_eq!(output.status.code(), Some(4), "{role:?}");
        assert!(text(&output.stderr).contains("call mmap in the role"));
    }
}

#[test]
fn every_role_can_work() {
    for role in Role::ALL {
        let said = passes(&format!("work {}", role.name()));
        assert!(said.contains("worked 1048576"), "{said}");
    }
}

#[test]
fn a_thread_has_no_capabilities_and_the_main_one_those_for_reports() {
    let most = CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Main) {
        let said = passes(&format!("capabilities {}", role.name()));
        let kept = |of: &str| {
            let (_, rest) = said.split_once(of).unwrap();
            let bits = rest.split_whitespace().next().unwrap();
            CapabilitySet::from_bits_retain(bits.parse().unwrap())
        };
        assert_eq!(kept("of the thread: "), CapabilitySet::empty());
        assert!(most.contains(kept("of the main one: ")), "{said}");
    }
}

#[test]
fn files_are_written_where_reports_go_and_nowhere_else() {
    let said = passes("files");
    if has_landlock() {
        assert!(said.contains("denied [true, true, true]"), "{said}");
        assert!(said.contains("reads false"), "{said}");
    }
}

#[test]
fn a_campaign_starts_processes_and_writes_where_it_was_told() {
    let said = passes("campaign-starts");
    if has_landlock() {
        assert!(said.contains("denied [true, true, true]"), "{said}");
        assert!(said.contains("reads true"), "{said}");
    }
    let output = run("campaign-forbidden");
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("forbidden system call mount"));
}

#[test]
fn without_confinement_nothing_is_taken() {
    passes("none");
}
