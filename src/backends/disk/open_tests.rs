use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use stickler_devices::block::disk::ID_LEN;
use tempfile::{NamedTempFile, TempDir};

use super::tests::{MIB, image, read_only, writable};
use super::*;

#[test]
fn properties_are_those_of_the_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a root, really large.img");
    File::create(&path).unwrap().set_len(3 * MIB).unwrap();
    let disk = DiskImage::open(&writable(&path)).unwrap();
    let properties = disk.properties();
    assert_eq!(properties.capacity, 3 * MIB / 512);
    assert!(!properties.read_only);
    assert!(properties.physical_block.is_power_of_two());
    assert_eq!(&properties.id, b"a_root__really_large");
    let short = dir.path().join("x.img");
    File::create(&short).unwrap().set_len(512).unwrap();
    let disk = DiskImage::open(&read_only(&short)).unwrap();
    let mut id = [0; ID_LEN];
    id[..5].copy_from_slice(b"x.img");
    assert_eq!(disk.properties().id, id);
}

#[test]
fn the_command_line_names_file_and_mode() {
    let parse = |text: &str| text.parse::<DiskSpec>().unwrap();
    assert_eq!(parse("a.img"), writable(Path::new("a.img")));
    assert_eq!(parse("a.img,ro"), read_only(Path::new("a.img")));
    assert_eq!(parse("a,b"), writable(Path::new("a,b")));
    assert_eq!(parse("a,ro,ro"), read_only(Path::new("a,ro")));
}

fn open_error(spec: &DiskSpec) -> String {
    match DiskImage::open(spec) {
        Ok(_) => panic!("{spec:?} opened"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_is_no_image_is_told_in_one_sentence() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing.img");
    let said = open_error(&writable(&missing));
    assert!(
        said.contains("missing.img: there is no such file"),
        "{said}"
    );
    let said = open_error(&writable(dir.path()));
    assert!(said.contains("is a directory"), "{said}");
    let said = open_error(&writable(Path::new("/dev/null")));
    assert!(said.contains("neither a file nor a block device"), "{said}");
    let empty = NamedTempFile::new().unwrap();
    let said = open_error(&writable(empty.path()));
    assert!(said.contains("is empty"), "{said}");
    empty.as_file().set_len(1000).unwrap();
    let said = open_error(&writable(empty.path()));
    assert!(said.contains("1000 bytes"), "{said}");
    for said in [open_error(&writable(&missing)), said] {
        assert_eq!(said.lines().count(), 1);
    }
}

#[test]
fn an_image_has_one_writer_or_many_readers() {
    let file = image(4096);
    let writer = DiskImage::open(&writable(file.path())).unwrap();
    let said = open_error(&writable(file.path()));
    assert!(said.contains("already a disk of a running guest"), "{said}");
    let said = open_error(&read_only(file.path()));
    assert!(said.contains("in use by a running guest"), "{said}");
    drop(writer);
    let first = DiskImage::open(&read_only(file.path())).unwrap();
    let second = DiskImage::open(&read_only(file.path())).unwrap();
    assert!(open_error(&writable(file.path())).contains(",ro"));
    drop((first, second));
    DiskImage::open(&writable(file.path())).unwrap();
}

#[test]
fn a_device_that_this_host_has_mounted_is_refused() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let is_device = |path: &&str| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|m| m.file_type().is_block_device()) && File::open(path).is_ok()
    };
    let sources = mounts.lines().filter_map(|line| line.split(' ').next());
    let Some(device) = sources.into_iter().find(is_device) else {
        println!("skipped: no block device of this host is mounted and ours to open");
        return;
    };
    let said = open_error(&writable(Path::new(device)));
    assert!(said.contains("is in use by this host"), "{said}");
}

#[test]
fn an_image_that_may_not_be_written_suggests_ro() {
    let spec = writable(Path::new("x.img"));
    for kind in [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ] {
        let said = open::cannot_open(&spec, &kind.into()).to_string();
        assert!(said.contains("give it as x.img,ro"), "{said}");
    }
    let spec = read_only(Path::new("x.img"));
    let said = open::cannot_open(&spec, &io::ErrorKind::PermissionDenied.into()).to_string();
    assert!(said.contains("cannot be read"), "{said}");
}
