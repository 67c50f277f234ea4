//! A disk image with a full Debian, made by debootstrap.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::{self, cached};
use crate::host;
use crate::process::run_quietly;
use crate::workspace::Workspace;

/// The suite on the disk.
const SUITE: &str = "bookworm";

/// Packages that the tests need and a minimal Debian lacks.
const PACKAGES: &str = "pciutils,systemd-sysv";

/// Installs Debian in the directory `$1`, configures it so that it boots and root can log in on a console,
/// and puts it into the image `$2`. Only root can do that, since the files belong to root.
const SCRIPT: &str = r#"
set -eu
root=$1 image=$2 suite=$3 mirror=$4 keyring=$5 packages=$6
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
trap 'rm -rf "$root"' EXIT
debootstrap --keyring="$keyring" --include="$packages" "$suite" "$root" "$mirror"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
echo debian > "$root/etc/hostname"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
cat > "$root/etc/systemd/network/wired.network" <<'END'
[Match]
Type=ether
[Network]
Address=192.168.76.2/24
LinkLocalAddressing=no
END
ln -sf /lib/systemd/system/systemd-networkd.service \
    "$root/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
# No timers, which would start services while a test runs.
for timer in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer logrotate.timer man-db.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$timer"
done
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
truncate -s 2G "$image"
PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -d "$root" "$image"
chmod a+rw "$image"
"#;

/// The image, which is made the first time.
pub(crate) fn image(workspace: &Workspace) -> Result<PathBuf> {
    host::set_up_debootstrap()?;
    let dir = workspace.cache().join("userland");
    cached(&dir, make).context("cannot make a disk with Debian on it")?;
    Ok(dir.join("debian.img"))
}

fn make(dir: &Path) -> Result<()> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        let mut command = Command::new("sudo");
        command.arg("sh");
        command
    };
    command
        .args(["-c", SCRIPT, "userland"])
        .arg(dir.join("root"))
        .arg(dir.join("debian.img"))
        .args([SUITE, &debian::mirror()?])
        .arg(debian::keyring()?)
        .arg(PACKAGES);
    run_quietly(&mut command)?;
    fs::metadata(dir.join("debian.img")).context("the image is missing")?;
    Ok(())
}
