//! What the standard library lacks: functions of the C library and of the kernel, each behind a function
//! that is safe to call with any argument.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::{self, File};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount(target: *const c_char) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(how: c_int) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn sync();
    fn tcdrain(fd: c_int) -> c_int;
}

const FINIT_MODULE: c_long = 313;
const KEXEC_FILE_LOAD: c_long = 320;
const POWER_OFF: c_int = 0x4321_fedc;
const RESTART: c_int = 0x0123_4567;
const START_LOADED: c_int = 0x4558_4543;
const AF_INET: c_int = 2;
const SOCK_RAW: c_int = 3;
const IPPROTO_ICMP: c_int = 1;

/// Mounts the file system of the type `kind` in `source` at `target`. The source of file systems of the
/// kernel's own can have any name.
pub(crate) fn mount_at(source: &CStr, kind: &CStr, target: &CStr) -> io::Result<()> {
    // SAFETY: All three are null-terminated, and file systems can do without data.
    let result = unsafe {
        mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    check(result.into())
}

/// Unmounts the file system at `target`.
pub(crate) fn unmount(target: &CStr) -> io::Result<()> {
    // SAFETY: It is null-terminated.
    check(unsafe { umount(target.as_ptr()) }.into())
}

/// Loads a module.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: The kernel reads from the file, and the string of parameters, which is empty and
    // null-terminated.
    check(unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0 as c_int) })
}

/// Switches the machine off. Returns only if that fails.
pub(crate) fn power_off() {
    // SAFETY: It touches no memory of ours.
    unsafe { reboot(POWER_OFF) };
}

/// Restarts the machine. Returns only if that fails.
pub(crate) fn restart() {
    // SAFETY: It touches no memory of ours.
    unsafe { reboot(RESTART) };
}

/// Loads `kernel`, a bzImage, which [`start_loaded`] starts.
pub(crate) fn load_kernel(kernel: &File, initrd: &File, command_line: &str) -> io::Result<()> {
    let line = CString::new(command_line)?;
    let length = line.as_bytes_with_nul().len();
    // SAFETY: The kernel reads from the files, and `length` bytes of the line, which it has.
    check(unsafe {
        syscall(
            KEXEC_FILE_LOAD,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            length,
            line.as_ptr(),
            0 as c_ulong,
        )
    })
}

/// Starts the kernel that is loaded, on the machine as it is. Returns only if that fails.
pub(crate) fn start_loaded() {
    // SAFETY: It touches no memory of ours.
    unsafe { reboot(START_LOADED) };
}

/// Has the kernel log where all tasks wait and what all processors do.
pub(crate) fn show_stacks() {
    show_all_messages();
    for key in ["w", "l"] {
        // A kernel without such keys has nothing to say.
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
}

/// Has the kernel show all its messages from now on. Call traces of tasks that hang are no warnings.
pub(crate) fn show_all_messages() {
    // A kernel that cannot be told so shows what it does.
    let _ = fs::write("/proc/sys/kernel/printk", "7");
}

/// Resets the machine at once, without the drivers. Does nothing if the kernel has no such key.
pub(crate) fn reset() {
    // If it fails, nothing else can be done.
    let _ = fs::write("/proc/sysrq-trigger", "b");
}

/// Has all file systems written back.
pub(crate) fn write_back() {
    // SAFETY: It has no arguments and cannot fail.
    unsafe { sync() };
}

/// A socket for ICMP.
pub(crate) fn icmp_socket() -> io::Result<UdpSocket> {
    // SAFETY: It touches no memory of ours.
    let fd = unsafe { socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) };
    check(fd.into())?;
    // SAFETY: The descriptor is new, and nothing else owns it.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Waits until what was written to a terminal is out.
pub(crate) fn drain(terminal: &File) -> io::Result<()> {
    // SAFETY: It touches no memory of ours.
    check(unsafe { tcdrain(terminal.as_raw_fd()) }.into())
}

/// Opening a file with it, or reading from it, never waits.
pub(crate) const NONBLOCK: c_int = 0o4000;

/// Whether reading a file waits for something to read.
pub(crate) fn set_waiting(file: &File, waiting: bool) -> io::Result<()> {
    const SET_FLAGS: c_int = 4;
    let flags = if waiting { 0 } else { NONBLOCK };
    // SAFETY: It touches no memory of ours. The other flags that can be set here are off anyway.
    check(unsafe { fcntl(file.as_raw_fd(), SET_FLAGS, flags) }.into())
}

/// A request that reads and writes up to 64 bytes, as all do that are made here.
pub(crate) fn control(
    file: &impl AsRawFd,
    request: Request,
    argument: &mut [u8; 64],
) -> io::Result<()> {
    // SAFETY: The requests that can be named read and write less than 64 bytes, and nothing behind
    // pointers.
    check(unsafe { ioctl(file.as_raw_fd(), request as c_ulong, argument.as_mut_ptr()) }.into())
}

/// What [`control`] can ask for.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Request {
    /// `struct termios` (36 bytes): get.
    TerminalModes = 0x5401,
    /// `struct termios`: set.
    SetTerminalModes = 0x5402,
    /// `struct winsize` (8 bytes): get.
    WindowSize = 0x5413,
    /// No argument: freeze all processes but the one that asks.
    Freeze = 0x3301,
    /// No argument: thaw them.
    Unfreeze = 0x3302,
    /// `int`: freeze all drivers, make an image of memory, and thaw them.
    CreateImage = 0x4004_3311,
    /// `struct ifreq` (40 bytes), as are the following: get the flags.
    Flags = 0x8913,
    /// Set the flags.
    SetFlags = 0x8914,
    /// Set the address.
    SetAddress = 0x8916,
    /// Set the network's mask.
    SetMask = 0x891c,
    /// Set the hardware address.
    SetHardwareAddress = 0x8924,
    /// Get it.
    HardwareAddress = 0x8927,
    /// `struct vlan_ioctl_args` (56 bytes): add or remove a VLAN.
    Vlan = 0x8983,
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
