//! What a guest writes to its serial port.

use std::fs::File;
use std::io::Write;

use rustix::termios::tcdrain;
use stickler_exerciser::GuestLine;

/// Sets a mark, which the findings after it are reported under.
pub fn mark(name: &str) {
    say(&GuestLine::Mark(name.to_owned()).to_string());
}

/// Writes a line to the serial port, and waits until it is out: what happens next is to come after it.
pub fn say(line: &str) {
    let written = File::options()
        .write(true)
        .open("/dev/ttyS0")
        .and_then(|mut serial| {
            serial.write_all(format!("{line}\n").as_bytes())?;
            Ok(tcdrain(&serial)?)
        });
    if written.is_err() {
        println!("{line}");
    }
}
