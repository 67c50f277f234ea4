//! The user's terminal gets its attributes back. In a process of its own: a panic anywhere restores
//! the terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use stickler::machine::terminal::RawMode;

/// Both ends of a new terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let user = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    (master, user)
}

#[test]
fn raw_mode_ends_with_its_guard_and_with_a_panic() {
    let (_master, user) = terminal();
    let cooked = || {
        let modes = tcgetattr(&user).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    };
    assert!(cooked());
    let raw = RawMode::enter_on(user.as_fd()).unwrap();
    assert!(raw.is_some());
    assert!(!cooked());
    drop(raw);
    assert!(cooked());

    let _raw = RawMode::enter_on(user.as_fd()).unwrap();
    assert!(!cooked());
    let panicked = thread::spawn(|| panic!("deliberate")).join();
    assert!(panicked.is_err());
    assert!(cooked());
}

#[test]
fn what_is_no_terminal_is_left_alone() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    assert!(RawMode::enter_on(reader.as_fd()).unwrap().is_none());
}
