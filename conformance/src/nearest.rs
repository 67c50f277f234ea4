//! The name that a user may have meant.

/// Names that are less alike than this have nothing to do with each other.
const ALIKE: f64 = 0.6;

/// The one of `names` that is most like `word`; `None` if none is.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names = names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(word, name), name));
    let alike = names.filter(|(likeness, _)| *likeness >= ALIKE);
    alike
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slip_is_found_and_nothing_else_is() {
        let names = ["one-vector", "most-vectors", "tiny-queues"];
        assert_eq!(nearest("on-vector", names), Some("one-vector"));
        assert_eq!(nearest("tiny_queues", names), Some("tiny-queues"));
        assert_eq!(nearest("no-such", names), None);
        assert_eq!(nearest("", names), None);
    }
}
