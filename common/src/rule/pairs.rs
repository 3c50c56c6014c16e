//! What a rule says about itself as keys with values.
//!
//! In: pairs of texts, one by one. Out: the same, in their order. All are held in one text: each of tens of thousands of
//! rules has some twenty pairs of a few bytes, which as texts of their own take five times what they say.

/// Keys with values, in their order; a key may stand there more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    text: String,
    /// Where in the text each key ends, and its value.
    ends: Vec<(u32, u32)>,
}

impl Pairs {
    /// Makes room for so many pairs, and so many bytes of them.
    pub(super) fn reserve(&mut self, pairs: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(pairs);
    }

    /// Puts a pair behind the others. What would end behind 4 GiB is left out, which a rule cannot reach
    /// ([`super::RULE_BYTES_MAX`]).
    pub(super) fn push(&mut self, key: &str, value: &str) {
        let key_end = self.text.len() + key.len();
        if let (Ok(key_end), Ok(end)) = (u32::try_from(key_end), u32::try_from(key_end + value.len())) {
            self.text.push_str(key);
            self.text.push_str(value);
            self.ends.push((key_end, end));
        }
    }

    /// Gives back the room behind the last pair.
    pub(super) fn shrunk(mut self) -> Pairs {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
        self
    }

    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut from = 0;
        self.ends.iter().map(move |(key_end, end)| {
            let (key_end, end) = (*key_end as usize, *end as usize);
            let begin = std::mem::replace(&mut from, end);
            let part = |from, to| self.text.get(from..to).unwrap_or_default();
            (part(begin, key_end), part(key_end, end))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}
