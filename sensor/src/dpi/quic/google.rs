//! Google's handshake before TLS: messages of tags (QUIC Crypto, revision of 2016).
//!
//! In: bytes in which a CHLO may be. Out: its tags with their values. Where frames have no protection the message
//! is found by its name, since their layout changed with nearly every version and the name did not.

/// Most tags of a message; Chromium's limit.
const TAGS_MAX: usize = 128;
/// Within how many bytes of a packet the message begins.
const SEARCHED_BYTES: usize = 96;

/// A message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    /// Tags with the end of their values, eight bytes each.
    index: &'a [u8],
    values: &'a [u8],
}

impl<'a> Message<'a> {
    /// The CHLO that `bytes` begin with, as far as it is there.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        Message::of_kind(bytes, b"CHLO")
    }

    fn of_kind(bytes: &'a [u8], kind: &[u8; 4]) -> Option<Message<'a>> {
        let rest = bytes.strip_prefix(kind)?;
        let ([low, high, 0, 0], rest) = rest.split_first_chunk::<4>()? else { return None };
        let tags = usize::from(u16::from_le_bytes([*low, *high]));
        if tags == 0 || tags > TAGS_MAX {
            return None;
        }
        let (index, values) = rest.split_at_checked(tags * 8)?;
        let message = Message { index, values };
        let ends = message.entries().map(|(_, end)| end);
        let is_ascending = ends.clone().zip(ends.skip(1)).all(|(this, next)| this <= next);
        is_ascending.then_some(message)
    }

    /// The CHLO somewhere at the front of an unprotected packet.
    pub(super) fn find(bytes: &'a [u8]) -> Option<Message<'a>> {
        Message::parse(find(bytes, b"CHLO")?)
    }

    fn entries(&self) -> impl Iterator<Item = (&'a [u8], usize)> + Clone + use<'a> {
        self.index.chunks_exact(8).filter_map(|entry| {
            let (tag, end) = entry.split_at_checked(4)?;
            Some((tag, u32::from_le_bytes(*end.first_chunk()?) as usize))
        })
    }

    /// Tags without the zeros behind short ones, and their values; a value that is not all there is empty.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let values = self.values;
        let mut begin = 0;
        self.entries().map(move |(tag, end)| {
            let value = values.get(begin..end).unwrap_or_default();
            begin = end;
            (tag.strip_suffix(&[0]).unwrap_or(tag), value)
        })
    }

    /// The value of a tag.
    pub(super) fn value(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        self.tags().find(|(tag, value)| *tag == wanted && !value.is_empty()).map(|(_, value)| value)
    }
}

fn find<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let within = bytes.get(..SEARCHED_BYTES).unwrap_or(bytes);
    let at = memchr::memmem::find(within, name)?;
    bytes.get(at..)
}

/// Whether an unprotected packet holds a server's answer.
pub(super) fn is_server_hello(bytes: &[u8]) -> bool {
    [b"REJ\0", b"SHLO"]
        .iter()
        .any(|kind| find(bytes, kind).is_some_and(|message| Message::of_kind(message, kind).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_their_values() {
        let message = b"\x0d12345678Q043\x01hashhashhash\xa0\x01\x00\x40CHLO\x02\0\0\0SNI\0\x05\0\0\0UAID\x09\0\0\0a.orgname";
        let message = Message::find(message).unwrap();
        assert_eq!(message.value(b"SNI"), Some(&b"a.org"[..]));
        assert_eq!(message.value(b"UAID"), Some(&b"name"[..]));
        assert_eq!(message.value(b"VER"), None);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for wrong in [
            &b"CHLO\0\0\0\0"[..],
            b"CHLO\x01\0\0\x01SNI\0\x05\0\0\0",
            b"CHLO\x02\0\0\0SNI\0\x05\0\0\0",
            b"CHLO\x02\0\0\0SNI\0\x05\0\0\0UAID\x04\0\0\0",
            b"CHLO\xff\xff\0\0",
        ] {
            assert!(Message::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
