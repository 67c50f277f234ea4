//! The files of the user: none is used for two things, and none is written to that is somebody else's.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// Of every file that is there.
const CONTENT: &[u8] = &[b'x'; 4096];

fn stickler(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stickler"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started")
}

/// It is refused in one sentence that has `words` in it.
#[track_caller]
fn refused(directory: &TempDir, arguments: &[&str], words: &str) {
    let output = stickler(directory.path(), arguments);
    let said = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
}

/// A directory with files in it.
fn directory(files: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for file in files {
        fs::write(directory.path().join(file), CONTENT).expect("there is room");
    }
    directory
}

fn is_untouched(directory: &TempDir, file: &str) {
    let content = fs::read(directory.path().join(file)).expect("it is there");
    assert!(content == CONTENT, "{file} has been written to");
}

#[test]
fn a_file_that_is_written_has_one_use() {
    let directory = directory(&["d", "k", "f"]);
    fs::hard_link(directory.path().join("d"), directory.path().join("hard")).expect("it can");
    symlink("d", directory.path().join("soft")).expect("it can");
    let run = ["run", "--kernel", "k"];
    let serve = ["serve", "--socket", "s"];
    let check = ["check", "--kernel", "k", "--initrd", "f"];
    for (command, options, words) in [
        (
            &run[..],
            &["--disk", "d", "--console", "file=d"][..],
            "both a disk and the file of a console",
        ),
        (
            &serve,
            &["--disk", "d", "--console", "file=soft"],
            "both a disk and the file of a console",
        ),
        (
            &check,
            &["--disk", "d", "--console", "file=hard"],
            "both a disk and the file of a console",
        ),
        (
            &run,
            &["--disk", "d", "--report", "json=d"],
            "both a report and a disk",
        ),
        (
            &serve,
            &["--disk", "d", "--report", "text=hard"],
            "both a report and a disk",
        ),
        (
            &check,
            &["--disk", "d,ro", "--report", "json=soft"],
            "both a report and a disk",
        ),
        (&run, &["--disk", "d", "--disk", "hard"], "is a disk twice"),
        (
            &serve,
            &["--disk", "soft,ro", "--disk", "d"],
            "is a disk twice",
        ),
        (
            &run,
            &["--console", "file=f", "--report", "json=f"],
            "both a report and the file of a console",
        ),
        (
            &run,
            &["--console", "file=new", "--report", "json=new"],
            "both a report and the file of a console",
        ),
        (
            &run,
            &["--console", "file=k"],
            "both the kernel and the file of a console",
        ),
        (
            &check,
            &["--report", "json=f"],
            "both the initrd and a report",
        ),
        (
            &run,
            &["--report", "json=d", "--report", "text=hard"],
            "two reports",
        ),
    ] {
        refused(&directory, &[command, options].concat(), words);
        for file in ["d", "k", "f"] {
            is_untouched(&directory, file);
        }
    }
}

#[test]
fn what_another_run_has_locked_is_not_written_to() {
    let directory = directory(&["d", "k"]);
    let lock = File::open(directory.path().join("d")).expect("it is there");
    flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");
    for (options, words) in [
        (["--console", "file=d"], "is in use by another run"),
        (["--report", "json=d"], "is in use by another run"),
    ] {
        let run = ["serve", "--socket", "s", "--rng"];
        refused(&directory, &[&run[..], &options].concat(), words);
        is_untouched(&directory, "d");
    }
}

#[test]
fn what_another_user_has_put_into_a_directory_of_everybody_is_not_followed() {
    let directory = directory(&["precious", "k"]);
    let everybodys = directory.path().join("tmp");
    fs::create_dir(&everybodys).expect("there is room");
    fs::set_permissions(&everybodys, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    symlink("../precious", everybodys.join("link")).expect("it can");
    if lchown(everybodys.join("link"), Some(12345), None).is_err() {
        println!("skipped: only root can give files away");
        return;
    }
    for options in [
        ["--report", "json=tmp/link"],
        ["--console", "file=tmp/link"],
    ] {
        let run = ["serve", "--socket", "s", "--rng"];
        refused(
            &directory,
            &[&run[..], &options].concat(),
            "belongs to another user",
        );
        is_untouched(&directory, "precious");
    }
}

#[test]
fn a_block_device_is_neither_a_report_nor_a_console() {
    let mut devices = fs::read_dir("/dev").expect("it is there").flatten();
    let device = devices.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
    let Some(device) = device.map(|entry| entry.path().display().to_string()) else {
        println!("skipped: this host has no block device");
        return;
    };
    let directory = directory(&["k"]);
    let run = ["serve", "--socket", "s", "--rng"];
    let report = format!("json={device}");
    let words = "it is neither a file nor a pipe";
    refused(
        &directory,
        &[&run[..], &["--report", &report]].concat(),
        words,
    );
    let console = format!("file={device}");
    refused(
        &directory,
        &[&run[..], &["--console", &console]].concat(),
        "it is a block device",
    );
}
