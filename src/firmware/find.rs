//! Where firmware is, and how QEMU starts it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::FirmwareSpec;
use crate::qemu::GuestArch;

/// Firmware that is there.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// Which.
    pub spec: FirmwareSpec,
    /// For which processor.
    pub arch: GuestArch,
    files: Files,
}

#[derive(Clone, Debug)]
enum Files {
    /// For `-bios`.
    Image(PathBuf),
    /// For a flash memory, with the one that it stores its variables in.
    Flash { code: PathBuf, variables: PathBuf },
    /// For `-kernel`, behind the firmware of a lower level.
    Second { first: PathBuf, second: PathBuf },
    /// For `-bios`, and for a network card.
    Card { image: PathBuf, rom: PathBuf },
}

/// Why there is none: one sentence, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// There is none for such a guest.
    #[error("there is no {spec} for {arch}: {instead}")]
    NotFor {
        /// Which.
        spec: String,
        /// For which processor.
        arch: GuestArch,
        /// What there is.
        instead: &'static str,
    },
    /// It is not installed.
    #[error(
        "{spec} for {arch} is not there: neither {looked}; install the package {package}, or name a file with --firmware"
    )]
    Missing {
        /// Which.
        spec: String,
        /// For which processor.
        arch: GuestArch,
        /// Where it was looked for.
        looked: String,
        /// Debian's package.
        package: &'static str,
    },
    /// The file that was named cannot be read.
    #[error("cannot read the firmware {path}: {why}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
}

/// Where a file may be, below `/usr` or where QEMU is; and the package of Debian that has it.
struct Places {
    below: &'static [&'static str],
    package: &'static str,
}

const SEABIOS: Places = Places {
    below: &["share/seabios/bios-256k.bin", "share/qemu/bios-256k.bin"],
    package: "seabios",
};
const IPXE: Places = Places {
    below: &["share/qemu/pxe-virtio.rom", "lib/ipxe/qemu/pxe-virtio.rom"],
    package: "ipxe-qemu",
};
const OPENSBI: Places = Places {
    below: &[
        "lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin",
        "share/qemu/opensbi-riscv64-generic-fw_dynamic.bin",
    ],
    package: "opensbi",
};

/// EDK2: the code, and the variables.
fn edk2(arch: GuestArch) -> [Places; 2] {
    let [code, variables, package]: [&'static [&'static str]; 3] = match arch {
        GuestArch::X86_64 => [
            &[
                "share/OVMF/OVMF_CODE_4M.fd",
                "share/edk2/x64/OVMF_CODE.4m.fd",
            ],
            &[
                "share/OVMF/OVMF_VARS_4M.fd",
                "share/edk2/x64/OVMF_VARS.4m.fd",
            ],
            &["ovmf"],
        ],
        GuestArch::Aarch64 => [
            &[
                "share/AAVMF/AAVMF_CODE.no-secboot.fd",
                "share/AAVMF/AAVMF_CODE.fd",
            ],
            &["share/AAVMF/AAVMF_VARS.fd"],
            &["qemu-efi-aarch64"],
        ],
        GuestArch::Riscv64 => [
            &["share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd"],
            &["share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"],
            &["qemu-efi-riscv64"],
        ],
    };
    [code, variables].map(|below| Places {
        below,
        package: package[0],
    })
}

fn u_boot(arch: GuestArch) -> Places {
    Places {
        below: match arch {
            GuestArch::X86_64 => &["lib/u-boot/qemu-x86_64/u-boot.rom"],
            GuestArch::Aarch64 => &["lib/u-boot/qemu_arm64/u-boot.bin"],
            GuestArch::Riscv64 => &["lib/u-boot/qemu-riscv64_smode/uboot.elf"],
        },
        package: "u-boot-qemu",
    }
}

impl Firmware {
    /// Finds it beside QEMU, whose program is `qemu`, or where packages put it.
    ///
    /// # Errors
    /// It is not there.
    pub fn find(
        spec: &FirmwareSpec,
        arch: GuestArch,
        qemu: Option<&Path>,
    ) -> Result<Firmware, FirmwareError> {
        let find = |places: &Places| find(spec, arch, qemu, places);
        let of_pcs = |instead| match arch {
            GuestArch::X86_64 => Ok(()),
            _ => Err(FirmwareError::NotFor {
                spec: spec.to_string(),
                arch,
                instead,
            }),
        };
        let files = match spec {
            FirmwareSpec::SeaBios => {
                of_pcs("it is a BIOS for PCs; use ovmf or u-boot")?;
                Files::Image(find(&SEABIOS)?)
            }
            FirmwareSpec::Ipxe => {
                of_pcs(
                    "it is started by a PC's BIOS here; use ovmf or u-boot, which boot from networks, too",
                )?;
                Files::Card {
                    image: find(&SEABIOS)?,
                    rom: find(&IPXE)?,
                }
            }
            FirmwareSpec::Ovmf => {
                let [code, variables] = edk2(arch);
                Files::Flash {
                    code: find(&code)?,
                    variables: find(&variables)?,
                }
            }
            FirmwareSpec::UBoot if arch == GuestArch::Riscv64 => Files::Second {
                first: find(&OPENSBI)?,
                second: find(&u_boot(arch))?,
            },
            FirmwareSpec::UBoot => Files::Image(find(&u_boot(arch))?),
            FirmwareSpec::File(path) => {
                fs::File::open(path).map_err(|why| FirmwareError::Unreadable {
                    path: path.display().to_string(),
                    why: why.to_string(),
                })?;
                Files::Image(path.clone())
            }
        };
        Ok(Firmware {
            spec: spec.clone(),
            arch,
            files,
        })
    }

    /// The file that is judged.
    pub fn file(&self) -> &Path {
        match &self.files {
            Files::Image(path) => path,
            Files::Flash { code, .. } => code,
            Files::Second { second, .. } => second,
            Files::Card { rom, .. } => rom,
        }
    }

    /// QEMU's machine, and its processor.
    pub(crate) fn machine(&self) -> [&'static str; 2] {
        match (self.arch, &self.spec) {
            // It looks for disks that q35 does not have, and waits long for each.
            (GuestArch::X86_64, FirmwareSpec::UBoot) => ["pc", "max"],
            // A BIOS shows on the serial port what it cannot show on a screen.
            (GuestArch::X86_64, _) => ["q35,graphics=off", "max"],
            _ => ["virt", "max"],
        }
    }

    /// QEMU's other options. What the firmware stores goes into `directory`.
    ///
    /// # Errors
    /// A file cannot be copied there.
    pub(crate) fn options(&self, directory: &Path) -> std::io::Result<Vec<OsString>> {
        let file = |option: &str, before: &str, path: &Path| {
            let mut value = OsString::from(before);
            value.push(crate::qemu::comma(path));
            [OsString::from(option), value]
        };
        let plain = |option: &str, path: &Path| [OsString::from(option), path.into()];
        Ok(match &self.files {
            Files::Image(image) | Files::Card { image, .. } => plain("-bios", image).into(),
            Files::Flash { code, variables } => {
                let own = directory.join("variables");
                fs::copy(variables, &own)?;
                [
                    file(
                        "-drive",
                        "if=pflash,format=raw,unit=0,readonly=on,file=",
                        code,
                    ),
                    file("-drive", "if=pflash,format=raw,unit=1,file=", &own),
                ]
                .concat()
            }
            Files::Second { first, second } => {
                [plain("-bios", first), plain("-kernel", second)].concat()
            }
        })
    }

    /// The firmware of a network card, which boots before anything else.
    pub(crate) fn rom(&self) -> Option<&Path> {
        match &self.files {
            Files::Card { rom, .. } => Some(rom),
            _ => None,
        }
    }
}

/// The first of the places where there is something.
fn find(
    spec: &FirmwareSpec,
    arch: GuestArch,
    qemu: Option<&Path>,
    places: &Places,
) -> Result<PathBuf, FirmwareError> {
    // QEMU is PREFIX/bin/qemu-system-…
    let beside = qemu.and_then(|program| program.parent()?.parent());
    let prefixes = beside.into_iter().chain([Path::new("/usr")]);
    let all: Vec<PathBuf> = prefixes
        .flat_map(|prefix| places.below.iter().map(|below| prefix.join(below)))
        .collect();
    match all.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => {
            let looked: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
            Err(FirmwareError::Missing {
                spec: spec.to_string(),
                arch,
                looked: looked.join(" nor "),
                package: places.package,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_found_beside_qemu() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |below: &str| directory.path().join(below);
        let qemu = at("bin/qemu-system-aarch64");
        let find = |spec: &str, arch| {
            let spec = spec.parse().expect("it is one");
            Firmware::find(&spec, arch, Some(&qemu))
        };
        let put = |below: &str| {
            fs::create_dir_all(at(below).parent().expect("one")).expect("there is room");
            fs::write(at(below), below).expect("there is room");
        };
        put("lib/u-boot/qemu_arm64/u-boot.bin");
        let found = find("u-boot", GuestArch::Aarch64).expect("it is there");
        assert_eq!(found.file(), at("lib/u-boot/qemu_arm64/u-boot.bin"));
        assert_eq!(
            found.options(directory.path()).expect("no files"),
            [OsString::from("-bios"), found.file().into()]
        );
        // Variables are copied, because firmware changes them.
        put("share/AAVMF/AAVMF_CODE.fd");
        put("share/AAVMF/AAVMF_VARS.fd");
        let found = find("ovmf", GuestArch::Aarch64).expect("it is there");
        assert_eq!(found.options(directory.path()).expect("room").len(), 4);
        assert_eq!(
            fs::read(at("variables")).expect("it was copied"),
            b"share/AAVMF/AAVMF_VARS.fd"
        );
    }

    #[test]
    fn firmware_that_is_not_there_is_named_with_its_package() {
        let error = |spec: &str, arch| {
            let spec = spec.parse().expect("it is one");
            let none = Path::new("/nowhere/bin/qemu");
            match find(
                &spec,
                arch,
                Some(none),
                &Places {
                    below: &["share/none"],
                    package: "p",
                },
            ) {
                Ok(path) => panic!("{}", path.display()),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(
            error("u-boot", GuestArch::Riscv64),
            "u-boot for riscv64 is not there: neither /nowhere/share/none nor /usr/share/none; install the package p, \
             or name a file with --firmware"
        );
        for spec in ["seabios", "ipxe"] {
            let spec = spec.parse().expect("it is one");
            let error = Firmware::find(&spec, GuestArch::Aarch64, None).expect_err("for PCs");
            assert!(error.to_string().contains("use ovmf or u-boot"), "{error}");
        }
        let missing = "./no-such-file".parse().expect("a file");
        let error = Firmware::find(&missing, GuestArch::X86_64, None).expect_err("missing");
        assert!(error.to_string().contains("no-such-file"), "{error}");
    }
}
