//! Where sockets are, and where none can be.

use std::fs;
use std::path::PathBuf;

use stickler_devices::entropy::Entropy;
use stickler_devices::virtio::pci::VirtioPci;

use super::super::*;
use super::Constant;

/// Adds devices until it fails, or all are there.
fn add(server: &mut DeviceServer, count: u8) -> Result<(), ServeError> {
    for slot in 1..=count {
        let (ram, interrupts) = server.surroundings();
        let function = VirtioPci::new(Entropy::new(Constant), slot, ram, interrupts, |_, _| {
            stickler_conformance::Unjudged
        })
        .expect("a device");
        server.add(function.clone(), function)?;
    }
    Ok(())
}

#[test]
fn a_directory_is_made_for_several_devices_and_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("devices");
    let mut server = DeviceServer::new(&path, 2).expect("it can be made");
    add(&mut server, 2).expect("there is room");
    let names = ["1-entropy.sock", "2-entropy.sock"].map(|name| path.join(name));
    assert_eq!(server.sockets(), names);
    assert!(names.iter().all(|name| name.exists()));
    drop(server);
    assert!(!path.exists());
    // One that is there stays.
    let mut server = DeviceServer::new(directory.path(), 1).expect("it is there");
    add(&mut server, 1).expect("there is room");
    assert_eq!(server.sockets(), [directory.path().join("1-entropy.sock")]);
    drop(server);
    assert_eq!(
        fs::read_dir(directory.path()).expect("it is there").count(),
        0
    );
}

#[test]
fn places_where_no_socket_can_be_are_named_in_one_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let problem = |path: PathBuf, count: u8| {
        let made = DeviceServer::new(&path, count.into());
        let error = made.and_then(|mut server| add(&mut server, count)).err();
        error.expect("it cannot be").to_string()
    };
    fs::write(at("file"), "").expect("there is room");
    let _in_use = BoundSocket::bind(&at("in-use")).expect("free");
    for (path, count, words) in [
        (at("file"), 2, "it is no directory"),
        (at("file"), 1, "there is something else at this path"),
        (at("in-use"), 1, "another process listens on this socket"),
        (at("in-use"), 2, "it is no directory"),
        (at("missing/socket"), 1, "there is no directory"),
        (at("missing/directory"), 2, "there is no directory"),
        (at(&"x".repeat(108)), 1, "the path is too long for a socket"),
        (at(&"x".repeat(108)), 2, "the path is too long for a socket"),
    ] {
        let said = problem(path, count);
        assert!(said.contains(words), "{said}");
        assert!(
            !said.contains('\n') && said.starts_with("cannot serve at "),
            "{said}"
        );
    }
    // A socket that nobody listens on any more is replaced.
    drop(std::os::unix::net::UnixListener::bind(at("stale")).expect("free"));
    let mut server = DeviceServer::new(&at("stale"), 1).expect("it can be");
    add(&mut server, 1).expect("nobody listens");
}
