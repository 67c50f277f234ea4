//! Complaints of the guest's kernel, as its consoles tell them.

use std::sync::Arc;

use crate::complaints::{Complaint, ComplaintKind, KernelLine, LINES};

/// The most complaints that are kept: a guest cannot fill our memory with them.
pub const COMPLAINTS: usize = 64;

/// A complaint, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedComplaint {
    /// What the kernel wrote.
    pub complaint: Complaint,
    /// Microseconds from the beginning of the run to its first line.
    pub time_us: u64,
    /// The mark under which it began.
    pub mark: Option<Arc<str>>,
    /// How many there were that differ in nothing but the time and numbers; at least 1.
    pub times: u64,
}

/// A complaint that a console has begun to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComplaintId(u64);

/// All complaints of a run.
#[derive(Debug, Default)]
pub(super) struct ComplaintNotes {
    notes: Vec<ComplaintNote>,
    next: u64,
    /// Complaints that were not kept.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct ComplaintNote {
    id: u64,
    console: usize,
    stamp: Option<String>,
    /// Another console has told it too.
    told_again: bool,
    lines: Vec<String>,
    time_us: u64,
    mark: Option<Arc<str>>,
}

impl ComplaintNotes {
    /// `console` begins a complaint with `line`. `None` if it is known already: the kernel writes the same to all
    /// its consoles, and a program may show the kernel's log.
    pub(super) fn begin(
        &mut self,
        console: usize,
        line: &KernelLine<'_>,
        time_us: u64,
        mark: Option<Arc<str>>,
    ) -> Option<ComplaintId> {
        let known = self.notes.iter_mut().find(|note| {
            let same = note.lines.first().map(String::as_str) == Some(line.text)
                && note.stamp.as_deref() == line.stamp;
            // Without a time, two complaints can begin alike.
            same && (line.stamp.is_some() || note.console != console && !note.told_again)
        });
        if let Some(known) = known {
            known.told_again = true;
            return None;
        }
        if self.notes.len() >= COMPLAINTS {
            self.dropped += 1;
            // One for which the run fails is worth more than one for which it does not.
            let lesser = self
                .notes
                .iter()
                .position(|note| !Complaint::of(note.lines.clone()).fails())?;
            self.notes.remove(lesser);
        }
        let id = self.next;
        self.next += 1;
        self.notes.push(ComplaintNote {
            id,
            console,
            stamp: line.stamp.map(str::to_owned),
            told_again: false,
            lines: vec![printable(line.text)],
            time_us,
            mark,
        });
        Some(ComplaintId(id))
    }

    /// A further line of a complaint.
    pub(super) fn add(&mut self, id: ComplaintId, text: &str) {
        let note = self.notes.iter_mut().rev().find(|note| note.id == id.0);
        if let Some(note) = note
            && note.lines.len() < LINES
        {
            note.lines.push(printable(text));
        }
    }

    /// All complaints, in the order in which they began; those that say the same are told once.
    pub(super) fn all(&self) -> Vec<RecordedComplaint> {
        let mut all: Vec<RecordedComplaint> = Vec::new();
        for note in &self.notes {
            let complaint = Complaint::of(note.lines.clone());
            let known = all
                .iter_mut()
                .find(|known| says_the_same(&known.complaint, &complaint));
            match known {
                Some(known) => known.times += 1,
                None => all.push(RecordedComplaint {
                    complaint,
                    time_us: note.time_us,
                    mark: note.mark.clone(),
                    times: 1,
                }),
            }
        }
        all
    }
}

/// Whether two complaints differ in nothing but numbers.
fn says_the_same(one: &Complaint, other: &Complaint) -> bool {
    let place = |complaint: &Complaint| -> (ComplaintKind, Option<String>, Vec<String>, String) {
        let letters =
            |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
        (
            complaint.kind,
            complaint.rip.clone(),
            complaint.trace.clone(),
            letters(&complaint.title),
        )
    };
    place(one) == place(other)
}

/// Without control characters, which could act on the terminal of the reader of the report; a tab is kept as a
/// blank.
pub(super) fn printable(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str = "BUG: kernel NULL pointer dereference, address: 0";

    fn line(stamp: Option<&'static str>, text: &'static str) -> KernelLine<'static> {
        KernelLine {
            stamp,
            caller: None,
            text,
        }
    }

    fn titles(notes: &ComplaintNotes) -> Vec<(String, u64)> {
        notes
            .all()
            .into_iter()
            .map(|recorded| (recorded.complaint.title, recorded.times))
            .collect()
    }

    #[test]
    fn what_several_consoles_tell_is_told_once() {
        for stamp in [Some("1.000001"), None] {
            let mut notes = ComplaintNotes::default();
            let id = notes.begin(0, &line(stamp, TITLE), 1, None).unwrap();
            assert_eq!(notes.begin(1, &line(stamp, TITLE), 2, None), None);
            notes.add(id, " free_buf+0x1/0x2\t[virtio_console]\u{7}");
            assert_eq!(titles(&notes), [(TITLE.to_owned(), 1)]);
            let lines = &notes.all()[0].complaint.lines;
            assert_eq!(lines[1], " free_buf+0x1/0x2 [virtio_console]");
        }
    }

    #[test]
    fn the_log_shown_again_is_no_new_complaint_but_the_same_at_another_time_is() {
        let mut notes = ComplaintNotes::default();
        notes.begin(0, &line(Some("1.0"), TITLE), 1, None).unwrap();
        assert_eq!(notes.begin(0, &line(Some("1.0"), TITLE), 9, None), None);
        notes.begin(0, &line(Some("2.0"), TITLE), 9, None).unwrap();
        assert_eq!(titles(&notes), [(TITLE.to_owned(), 2)]);
        let mut notes = ComplaintNotes::default();
        notes.begin(0, &line(None, TITLE), 1, None).unwrap();
        notes.begin(0, &line(None, TITLE), 1, None).unwrap();
        assert_eq!(titles(&notes), [(TITLE.to_owned(), 2)]);
    }

    #[test]
    fn complaints_and_their_lines_are_bounded_and_those_that_matter_are_kept() {
        let mut notes = ComplaintNotes::default();
        let warning = "WARNING: CPU: 0 PID: 1 at a.c:1 a+0x1/0x2";
        for _ in 0..=COMPLAINTS {
            let id = notes.begin(0, &line(None, warning), 0, None).unwrap();
            for _ in 0..2 * LINES {
                notes.add(id, " a+0x1/0x2");
            }
        }
        assert_eq!((notes.notes.len(), notes.dropped), (COMPLAINTS, 1));
        notes.begin(0, &line(None, TITLE), 0, None).unwrap();
        assert!(titles(&notes).contains(&(TITLE.to_owned(), 1)));
        assert!(notes.notes.iter().all(|note| note.lines.len() <= LINES));
        for _ in 0..2 * COMPLAINTS {
            notes.begin(0, &line(None, TITLE), 0, None);
        }
        assert_eq!(notes.notes.len(), COMPLAINTS);
        assert_eq!(notes.begin(0, &line(None, warning), 0, None), None);
    }
}
