//! What an error says at the end of the program.
//!
//! In: an error with its causes. Out: one line that says each of them once.

/// An error with its causes, each once: many an error has its cause in its own words, for whoever shows no causes.
pub(super) fn in_words(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::evidence::EvidenceError;
    use crate::ring::custody::KeyError;
    use anyhow::Context as _;
    use std::io;
    use std::path::PathBuf;

    #[test]
    fn an_error_says_each_of_its_causes_once() {
        let (path, source) = (PathBuf::from("/x"), || io::Error::from(io::ErrorKind::NotFound));
        for error in [
            anyhow::Error::from(EvidenceError::Io { path: path.clone(), source: source() }),
            anyhow::Error::from(KeyError::Io { path, source: source() }),
        ] {
            let words = in_words(&error);
            assert!(words.ends_with("/x: entity not found"), "{words}");
            assert_eq!(words.matches("entity not found").count(), 1, "{words}");
        }
        let error = Err::<(), _>(source()).context("reading").context("the file").unwrap_err();
        assert_eq!(in_words(&error), "the file: reading: entity not found");
    }
}
