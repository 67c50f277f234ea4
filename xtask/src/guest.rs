//! The initial RAM file systems that guests boot from.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::kernel::Kernel;
use crate::process::output_of;
use crate::workspace::Programs;
use stickler_guest_image::cpio::Archive;
use stickler_guest_programs::machine::MODULES_LIST;

/// The drivers of all device types, and VLANs. Where the kernel has one built in there is no such
/// module.
pub(crate) const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio-rng",
    "8021q",
];

/// Gives the interface the address that DHCP has leased.
const DHCP_SCRIPT: &str = r#"#!/bin/sh
case "$1" in
bound | renew)
    ip addr flush dev "$interface" scope global
    ip addr add "$ip/${mask:-24}" dev "$interface"
    [ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
    ;;
esac
"#;

/// Writes an initial RAM file system whose first process is the exerciser, with busybox for what it needs
/// besides.
pub(crate) fn write_exerciser(
    path: &Path,
    kernel: &Kernel,
    busybox: &Path,
    programs: &Programs,
) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.copy("/init", &programs.path("stickler-exerciser"))?;
    add_busybox(&mut archive, busybox)?;
    archive.file("/etc/udhcpc.sh", 0o755, DHCP_SCRIPT.as_bytes())?;
    kernel.add_modules(&MODULES, stickler_exerciser::MODULES, &mut archive)?;
    archive.finish()?;
    Ok(())
}

/// Writes an initial RAM file system with nothing but the program `name` of ours as its first process: the
/// program drives the devices itself, and needs no module.
pub(crate) fn write_program(path: &Path, name: &str, programs: &Programs) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.copy("/init", &programs.path(name))?;
    archive.finish()?;
    Ok(())
}

/// Loads the drivers, and starts the system on the first disk.
const LOADER: &str = r#"#!/bin/busybox sh
mkdir -p /proc /sys /dev /system
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "$module"
done < /lib/modules/order
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /system
for dir in proc sys dev; do
    mount -o move "/$dir" "/system/$dir"
done
exec switch_root /system /sbin/init
"#;

/// Writes an initial RAM file system that starts the system on the first disk.
pub(crate) fn write_loader(path: &Path, kernel: &Kernel, busybox: &Path) -> Result<()> {
    let mut archive = Archive::create(path)?;
    archive.file("/init", 0o755, LOADER.as_bytes())?;
    add_busybox(&mut archive, busybox)?;
    kernel.add_modules(&MODULES, MODULES_LIST, &mut archive)?;
    archive.finish()?;
    Ok(())
}

/// Adds busybox and a link for each of its tools.
pub(crate) fn add_busybox<W: std::io::Write>(
    archive: &mut Archive<W>,
    busybox: &Path,
) -> Result<()> {
    archive.copy("/bin/busybox", busybox)?;
    let applets = output_of(Command::new(busybox).arg("--list-full"))?;
    for applet in applets.lines().filter(|&applet| applet != "bin/busybox") {
        archive.link(&format!("/{applet}"), "/bin/busybox")?;
    }
    Ok(())
}
