//! Puts pieces of output together to lines.

/// The output since the end of the last line.
#[derive(Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    /// Takes more output, and calls `see` with every line that is complete now.
    pub(crate) fn take(&mut self, bytes: &[u8], mut see: impl FnMut(&str)) {
        self.0.extend(bytes);
        while let Some(end) = self.0.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            see(String::from_utf8_lossy(&line).trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn lines_are_complete_however_they_are_cut() {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in ["a", "b\ncd\n", "", "e\r\nf"] {
            lines.take(piece.as_bytes(), |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["ab", "cd", "e"]);
    }
}
