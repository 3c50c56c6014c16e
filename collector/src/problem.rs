//! What cannot be used in a list, a rule or the configuration, and where it stands.
//!
//! In: places and sentences. Out: lines for a person, `PLACE: MESSAGE`. What to do about them is the
//! caller's: `check` fails on them, `run` says them and goes on with the rest.

use std::fmt;

/// Most problems kept of one list; how many more there are is told as the last one.
pub const PROBLEMS_MAX: usize = 100;

/// Something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file`, `file:line` or a configuration key.
    pub place: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Problem {
    /// In a file or under a key, as a whole.
    pub fn at(place: &str, message: String) -> Problem {
        Problem { place: place.to_owned(), message }
    }

    /// On a line, counted from 1; 0 when it is not known.
    pub fn at_line(file: &str, line: u64, message: String) -> Problem {
        let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}") };
        Problem { place, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The problems of one list: at most [`PROBLEMS_MAX`], and how many more.
#[derive(Debug)]
pub struct Problems {
    file: String,
    kept: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// None yet.
    pub fn of(file: &str) -> Problems {
        Problems { file: file.to_owned(), kept: Vec::new(), left_out: 0 }
    }

    /// One more, on a line.
    pub fn add(&mut self, line: u64, message: String) {
        if self.kept.len() < PROBLEMS_MAX {
            self.kept.push(Problem::at_line(&self.file, line, message));
        } else {
            self.left_out += 1;
        }
    }

    /// All that were kept, and the number of the others.
    pub fn told(mut self) -> Vec<Problem> {
        if self.left_out > 0 {
            let message = format!("and {} more lines that cannot be used", self.left_out);
            self.kept.push(Problem::at(&self.file, message));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_place() {
        let told: Vec<String> =
            [Problem::at("enrich.assets", "a".into()), Problem::at_line("f", 7, "b".into())]
                .iter()
                .map(ToString::to_string)
                .collect();
        assert_eq!(told, ["enrich.assets: a", "f:7: b"]);
        assert_eq!(Problem::at_line("f", 0, "c".into()).place, "f");
    }

    #[test]
    fn past_the_limit_problems_are_counted() {
        for (count, told) in [(PROBLEMS_MAX, PROBLEMS_MAX), (PROBLEMS_MAX + 7, PROBLEMS_MAX + 1)] {
            let mut problems = Problems::of("f");
            (0..count as u64).for_each(|line| problems.add(line + 1, "x".into()));
            let problems = problems.told();
            assert_eq!(problems.len(), told);
            assert_eq!(problems.last().unwrap().message.contains("and 7 more"), count > PROBLEMS_MAX);
        }
    }
}
