//! What a guest writes to its serial port.

use std::fs::File;
use std::io::Write;

use stickler_exerciser::GuestLine;

/// Sets a mark, which the findings after it are reported under.
pub fn mark(name: &str) {
    say(&GuestLine::Mark(name.to_owned()).to_string());
}

/// Writes a line to the serial port.
pub fn say(line: &str) {
    let written = File::options()
        .write(true)
        .open("/dev/ttyS0")
        .and_then(|mut serial| serial.write_all(format!("{line}\n").as_bytes()));
    if written.is_err() {
        println!("{line}");
    }
}
