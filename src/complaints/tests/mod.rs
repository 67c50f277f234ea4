//! Logs in the forms of Linux 5.10 to 7.x.

mod forms;
pub(crate) mod logs;
mod noise;

use super::*;

/// The complaints in a console's output, as a console's scanner puts them together.
fn read(log: &str) -> Vec<Complaint> {
    let mut reader = ComplaintReader::default();
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut places = [0; reader::AT_ONCE];
    for line in log.split(['\n', '\r', '\0']) {
        let Some(part) = reader.line(line) else {
            continue;
        };
        if part.opens {
            places[part.place] = all.len();
            all.push(Vec::new());
        }
        all[places[part.place]].push(part.line.text.to_owned());
    }
    all.into_iter().map(Complaint::of).collect()
}

/// The only complaint in a log.
fn one(log: &str) -> Complaint {
    let mut all = read(log);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}
