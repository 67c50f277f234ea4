//! The disk that the programs are on.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use crate::u_boot::{self, ScriptPlaces};
use crate::{ProgramArch, SECTOR, bios, copied, efi, sent};

// Places, in sectors.

/// The only partition, up to the end. Its file system fills only the beginning.
const PARTITION: usize = 2048;
const FILE_SYSTEM: usize = 2048;
/// What is copied, …
const FROM: usize = 4096;
/// … and where to.
const TO: usize = 6144;
/// Where what was sent is written.
const SENT_TO: usize = 8192;
const END: usize = 10_240;

/// A disk with programs for all firmware.
///
/// * The first sectors are a program for a PC's BIOS, in the first of which is a table with one partition.
/// * The partition has a FAT file system with programs for UEFI, where UEFI looks for those of removable media, and
///   a script for U-Boot. Behind the file system is what is copied.
#[derive(Clone, Copy, Debug)]
pub struct BootDisk;

/// What has become of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// What was to be copied was copied; and what was sent was written, if that was wanted.
    Right,
    /// Nothing was written.
    Untouched,
    /// There is something else.
    Wrong {
        /// What is wrong, for people.
        what: &'static str,
        /// The first byte of the disk that is.
        at: usize,
    },
}

impl BootDisk {
    /// Its content before a run.
    ///
    /// # Errors
    /// The file system cannot be made, which does not happen.
    pub fn content(self) -> io::Result<Vec<u8>> {
        let mut disk = vec![0; END * SECTOR];
        let data = copied();
        let program = bios::boot_sectors(FROM as u32, TO as u32, &data);
        disk[..program.len()].copy_from_slice(&program);
        partition_table(&mut disk);
        let file_system = file_system()?;
        disk[PARTITION * SECTOR..][..file_system.len()].copy_from_slice(&file_system);
        disk[FROM * SECTOR..][..data.len()].copy_from_slice(&data);
        Ok(disk)
    }

    /// Compares a disk after a run. `wants_sent`: the program was to write what it was sent, too.
    ///
    /// # Errors
    /// As of [`content`](Self::content).
    pub fn compare(self, after: &[u8], wants_sent: bool) -> io::Result<Compared> {
        let mut expected = self.content()?;
        // Firmware may leave files of its own beside ours.
        let without_files = |disk: &mut [u8]| {
            if let Some(files) = disk.get_mut(PARTITION * SECTOR..FROM * SECTOR) {
                files.fill(0);
            }
        };
        let mut found = after.to_vec();
        without_files(&mut found);
        without_files(&mut expected);
        if found == expected {
            return Ok(Compared::Untouched);
        }
        let (data, sent) = (copied(), sent());
        expected[TO * SECTOR..][..data.len()].copy_from_slice(&data);
        if wants_sent {
            expected[SENT_TO * SECTOR..][..sent.len()].copy_from_slice(&sent);
            // A whole number of sectors is written; of what is behind the file in memory nothing is known.
            let end = SENT_TO * SECTOR + sent.len();
            let padded = end.next_multiple_of(SECTOR);
            if let (Some(to), Some(from)) = (expected.get_mut(end..padded), found.get(end..padded))
            {
                to.copy_from_slice(from);
            }
        }
        if found == expected {
            return Ok(Compared::Right);
        }
        let at = found
            .iter()
            .zip(&expected)
            .position(|(a, b)| a != b)
            .unwrap_or(found.len().min(expected.len()));
        let what = match at / SECTOR {
            TO..SENT_TO => "what was copied is not what was read",
            SENT_TO.. => "what was written is not what was received",
            _ => "something was written where nothing was to be written",
        };
        Ok(Compared::Wrong { what, at })
    }
}

/// One partition, which a PC's BIOS may boot from.
fn partition_table(disk: &mut [u8]) {
    const TABLE: usize = 446;
    const ACTIVE: u8 = 0x80;
    /// A FAT file system, addressed by sectors.
    const FAT: u8 = 0x0c;
    /// In cylinders, heads and sectors it is too far.
    const FAR: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut entry = vec![ACTIVE];
    entry.extend(FAR);
    entry.push(FAT);
    entry.extend(FAR);
    for number in [PARTITION, END - PARTITION] {
        entry.extend((number as u32).to_le_bytes());
    }
    disk[TABLE..][..entry.len()].copy_from_slice(&entry);
    disk[510..SECTOR].copy_from_slice(&[0x55, 0xaa]);
}

/// The file system with the programs.
fn file_system() -> io::Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; FILE_SYSTEM * SECTOR]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat12)
        .volume_label(*b"STICKLER   ");
    fatfs::format_volume(&mut volume, options)?;
    {
        let file_system = FileSystem::new(&mut volume, FsOptions::new())?;
        let root = file_system.root_dir();
        root.create_file("boot.scr")?
            .write_all(&u_boot::image(&ScriptPlaces {
                from: FROM as u32,
                to: TO as u32,
                sent_to: SENT_TO as u32,
            }))?;
        let directory = root.create_dir("EFI")?.create_dir("BOOT")?;
        for arch in ProgramArch::ALL {
            let places = efi::EfiPlaces {
                from: in_partition(FROM),
                to: in_partition(TO),
                sent_to: in_partition(SENT_TO),
            };
            directory
                .create_file(efi::file_name(arch))?
                .write_all(&efi::image(arch, &places))?;
        }
    }
    Ok(volume.into_inner())
}

/// The byte of the partition at which a sector of the disk begins.
fn in_partition(sector: usize) -> u64 {
    ((sector - PARTITION) * SECTOR) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SENT;

    /// The disk after a run that did all.
    fn right(disk: &[u8]) -> Vec<u8> {
        let mut disk = disk.to_vec();
        let (data, sent) = (copied(), sent());
        disk[TO * SECTOR..][..data.len()].copy_from_slice(&data);
        disk[SENT_TO * SECTOR..][..SENT].copy_from_slice(&sent);
        disk[SENT_TO * SECTOR + SENT] = 0xee;
        disk
    }

    #[test]
    fn a_right_disk_and_a_wrong_one() {
        let disk = BootDisk.content().unwrap();
        let compare = |after: &[u8], sent| BootDisk.compare(after, sent).unwrap();
        assert_eq!(compare(&disk, true), Compared::Untouched);
        let mut after = right(&disk);
        after[PARTITION * SECTOR + 9] ^= 1;
        assert_eq!(compare(&after, true), Compared::Right);
        let place = |compared| match compared {
            Compared::Wrong { what, at } => (what, at),
            other => panic!("{other:?}"),
        };
        // Without a network, nothing may be where what was sent would be.
        let (what, at) = place(compare(&after, false));
        assert!(
            what.contains("received") && at == SENT_TO * SECTOR,
            "{what}"
        );
        for (at, words) in [
            (TO * SECTOR + 70, "copied"),
            (SENT_TO * SECTOR + SENT - 1, "received"),
            (FROM * SECTOR + 1, "nothing was to be written"),
            (1024, "nothing was to be written"),
            (END * SECTOR - 1, "received"),
        ] {
            let mut wrong = after.clone();
            wrong[at] ^= 1;
            let (what, found) = place(compare(&wrong, true));
            assert!(what.contains(words) && found == at, "{at}: {what} {found}");
        }
    }

    #[test]
    fn the_programs_are_where_firmware_looks() {
        let disk = BootDisk.content().unwrap();
        assert_eq!(disk[510..512], [0x55, 0xaa]);
        let volume = &disk[PARTITION * SECTOR..][..FILE_SYSTEM * SECTOR];
        let volume = FileSystem::new(Cursor::new(volume.to_vec()), FsOptions::new()).unwrap();
        let mut names: Vec<String> = volume
            .root_dir()
            .open_dir("EFI/BOOT")
            .unwrap()
            .iter()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [".", "..", "BOOTAA64.EFI", "BOOTRISCV64.EFI", "BOOTX64.EFI"]
        );
        assert!(volume.root_dir().open_file("boot.scr").is_ok());
        // It is the same every time.
        assert!(BootDisk.content().unwrap() == disk);
    }

    #[test]
    fn places_do_not_overlap() {
        let copied = copied().len() / SECTOR;
        assert!(FROM + copied <= TO && TO + copied <= SENT_TO);
        assert!(SENT_TO + SENT.div_ceil(SECTOR) <= END);
    }
}
