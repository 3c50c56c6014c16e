//! Records of the custody chain: 256 bytes that say what a segment held, linked and signed.
//!
//! In: what is to be said, the chain value before it, and the sensor's key. Out: bytes; and back, from bytes that
//! may be anything. The same layout carries the file's header, so that it is signed as records are. Knows no file.

use super::key::{PublicKey, SIGNATURE_BYTES, SigningKey};
use crate::ring::format::{Fields, FormatError, Put};
use serde::Serialize;
use weir_common::time::Timestamp;

/// Bytes of a record and of the file's header.
pub const RECORD_BYTES: usize = 256;
/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Bytes of the random number that tells one ring's chain from another's.
pub const RING_ID_BYTES: usize = 16;
/// Version of records and of the file; a later one is left alone.
pub const CUSTODY_VERSION: u8 = 1;

const MAGIC: [u8; 8] = *b"WEIRCUST";
/// What the signature covers; the signature follows.
const SIGNED_BYTES: usize = 176;
const CHECKED_BYTES: usize = RECORD_BYTES - 4;
/// What keeps the hashes of one purpose from being taken for those of another (BLAKE3's key derivation mode).
const RECORD_CONTEXT: &str = "weir custody 2026 chain record v1";
const HEADER_CONTEXT: &str = "weir custody 2026 chain header v1";
const FIRST_CONTEXT: &str = "weir custody 2026 chain begin v1";

/// A BLAKE3 hash.
pub type Hash = [u8; HASH_BYTES];

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// The run that wrote the segment sealed it: the digest is of what was written.
    Sealed,
    /// A start found the segment without a record, after a crash or a time without custody: the digest is of
    /// what the disk held then.
    Recovered,
    /// The ring removed the segment in its turn.
    Expired,
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            RecordKind::Sealed => 1,
            RecordKind::Recovered => 2,
            RecordKind::Expired => 3,
        }
    }

    fn from_code(code: u8) -> Option<RecordKind> {
        [RecordKind::Sealed, RecordKind::Recovered, RecordKind::Expired]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// What is said of a segment. Of one that expired all but its name is zero; its earlier record has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// What happened to it.
    pub kind: RecordKind,
    /// Its lane.
    pub lane: u16,
    /// The run that wrote it.
    pub run: u32,
    /// Its sequence.
    pub segment: u64,
    /// Earliest time of a frame.
    pub first_time: Timestamp,
    /// Latest time of a frame.
    pub last_time: Timestamp,
    /// Blocks.
    pub blocks: u64,
    /// Frames.
    pub frames: u64,
    /// Bytes of the segment's file.
    pub stored_bytes: u64,
    /// The segment's digest.
    pub digest: Hash,
}

/// A link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRecord {
    /// What it says.
    pub said: Said,
    /// Counts the records of the chain from 0 on.
    pub position: u64,
    /// The ring's random number.
    pub ring: [u8; RING_ID_BYTES],
    /// The chain value of the record before it.
    pub previous: Hash,
    /// Who signed it.
    pub key: PublicKey,
    /// The signature over the chain value.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl ChainRecord {
    /// Makes and signs the record that follows `previous`.
    pub fn sign(
        said: Said,
        position: u64,
        ring: [u8; RING_ID_BYTES],
        previous: Hash,
        key: &SigningKey,
    ) -> ChainRecord {
        let unsigned = ChainRecord {
            said,
            position,
            ring,
            previous,
            key: key.public(),
            signature: [0; SIGNATURE_BYTES],
        };
        ChainRecord { signature: key.sign(&unsigned.chain_value()), ..unsigned }
    }

    /// What the next record carries on: a hash of everything this one says, the value before it included.
    pub fn chain_value(&self) -> Hash {
        blake3::derive_key(RECORD_CONTEXT, &self.signed_bytes()[..SIGNED_BYTES])
    }

    /// Whether the signature is that of the key in the record.
    pub fn is_signed(&self) -> bool {
        self.key.verifies(&self.chain_value(), &self.signature)
    }

    fn signed_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        let said = &self.said;
        Put::at(&mut out, 0)
            .u8(said.kind.code())
            .u8(CUSTODY_VERSION)
            .u16(said.lane)
            .u32(said.run)
            .u64(self.position)
            .u64(said.segment)
            .u64(said.first_time.0)
            .u64(said.last_time.0)
            .u64(said.blocks)
            .u64(said.frames)
            .u64(said.stored_bytes)
            .bytes(&said.digest)
            .bytes(&self.previous)
            .bytes(&self.ring)
            .bytes(&self.key.0);
        out
    }

    /// The record's bytes, checksum included.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        finish(self.signed_bytes(), &self.signature)
    }

    /// Reads a record; only bytes that [`ChainRecord::encode`] writes are one. Does not verify the signature.
    pub fn decode(bytes: &[u8]) -> Result<ChainRecord, FormatError> {
        const WHAT: &str = "custody record";
        let bytes = checked(bytes, WHAT)?;
        let mut fields = Fields::new(bytes, WHAT);
        let (code, version) = (fields.u8()?, fields.u8()?);
        let kind = RecordKind::from_code(code).ok_or(FormatError::Value {
            what: "kind of custody record",
            found: code.into(),
            expected: RecordKind::Expired.code().into(),
        })?;
        check_version(version)?;
        let (lane, run, position) = (fields.u16()?, fields.u32()?, fields.u64()?);
        let said = Said {
            kind,
            lane,
            run,
            segment: fields.u64()?,
            first_time: fields.time()?,
            last_time: fields.time()?,
            blocks: fields.u64()?,
            frames: fields.u64()?,
            stored_bytes: fields.u64()?,
            digest: array(&mut fields)?,
        };
        Ok(ChainRecord {
            said,
            position,
            previous: array(&mut fields)?,
            ring: array(&mut fields)?,
            key: PublicKey(array(&mut fields)?),
            signature: array(&mut fields)?,
        })
    }
}

/// The begin of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHeader {
    /// The ring's random number.
    pub ring: [u8; RING_ID_BYTES],
    /// From this position on every record is there. Of those before it the limit left only the records of
    /// segments that were still there.
    pub whole_from: u64,
    /// Who signed it.
    pub key: PublicKey,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl ChainHeader {
    /// Makes and signs a header.
    pub fn sign(ring: [u8; RING_ID_BYTES], whole_from: u64, key: &SigningKey) -> ChainHeader {
        let unsigned = ChainHeader { ring, whole_from, key: key.public(), signature: [0; SIGNATURE_BYTES] };
        ChainHeader { signature: key.sign(&unsigned.hash()), ..unsigned }
    }

    /// What the first record of a ring carries on.
    pub fn first_previous(ring: &[u8; RING_ID_BYTES]) -> Hash {
        blake3::derive_key(FIRST_CONTEXT, ring)
    }

    /// Whether the signature is that of the key in the header.
    pub fn is_signed(&self) -> bool {
        self.key.verifies(&self.hash(), &self.signature)
    }

    fn hash(&self) -> Hash {
        blake3::derive_key(HEADER_CONTEXT, &self.signed_bytes()[..SIGNED_BYTES])
    }

    fn signed_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut out = [0; RECORD_BYTES];
        Put::at(&mut out, 0)
            .bytes(&MAGIC)
            .u8(CUSTODY_VERSION)
            .bytes(&[0; 7])
            .bytes(&self.ring)
            .u64(self.whole_from);
        Put::at(&mut out, SIGNED_BYTES - PublicKey::BYTES).bytes(&self.key.0);
        out
    }

    /// The header's bytes, checksum included.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        finish(self.signed_bytes(), &self.signature)
    }

    /// Reads a header. Does not verify the signature.
    pub fn decode(bytes: &[u8]) -> Result<ChainHeader, FormatError> {
        const WHAT: &str = "custody header";
        let bytes = checked(bytes, WHAT)?;
        let mut fields = Fields::new(bytes, WHAT);
        if fields.take(MAGIC.len())? != MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        check_version(fields.u8()?)?;
        fields.take(7)?;
        let (ring, whole_from) = (array(&mut fields)?, fields.u64()?);
        let mut fields = Fields::new(bytes.get(SIGNED_BYTES - PublicKey::BYTES..).unwrap_or_default(), WHAT);
        Ok(ChainHeader {
            ring,
            whole_from,
            key: PublicKey(array(&mut fields)?),
            signature: array(&mut fields)?,
        })
    }
}

fn finish(mut out: [u8; RECORD_BYTES], signature: &[u8; SIGNATURE_BYTES]) -> [u8; RECORD_BYTES] {
    Put::at(&mut out, SIGNED_BYTES).bytes(signature);
    let checksum = crc32fast::hash(&out[..CHECKED_BYTES]);
    Put::at(&mut out, CHECKED_BYTES).u32(checksum);
    out
}

/// The first 256 bytes, when their last four are the checksum of the others.
fn checked<'a>(bytes: &'a [u8], what: &'static str) -> Result<&'a [u8], FormatError> {
    let record = Fields::new(bytes, what).take(RECORD_BYTES)?;
    match Fields::new(&record[CHECKED_BYTES..], what).u32()? == crc32fast::hash(&record[..CHECKED_BYTES]) {
        true => Ok(record),
        false => Err(FormatError::Checksum { what }),
    }
}

fn check_version(found: u8) -> Result<(), FormatError> {
    let expected = u64::from(CUSTODY_VERSION);
    match found == CUSTODY_VERSION {
        true => Ok(()),
        false => {
            Err(FormatError::Value { what: "version of the custody chain", found: found.into(), expected })
        }
    }
}

fn array<const N: usize>(fields: &mut Fields<'_>) -> Result<[u8; N], FormatError> {
    let mut array = [0; N];
    array.copy_from_slice(fields.take(N)?);
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::super::key::KeyPlace;
    use super::*;

    fn key() -> SigningKey {
        let directory = tempfile::tempdir().unwrap();
        SigningKey::load_or_create(&KeyPlace::of("", directory.path(), None).unwrap()).unwrap()
    }

    fn said() -> Said {
        Said {
            kind: RecordKind::Recovered,
            lane: 2,
            run: 3,
            segment: 4,
            first_time: Timestamp(5),
            last_time: Timestamp(6),
            blocks: 7,
            frames: 8,
            stored_bytes: 9,
            digest: [10; HASH_BYTES],
        }
    }

    #[test]
    fn a_record_and_a_header_read_back_and_are_signed() {
        let key = key();
        let record = ChainRecord::sign(said(), 11, [12; 16], [13; 32], &key);
        assert_eq!(ChainRecord::decode(&record.encode()), Ok(record));
        assert!(record.is_signed());
        let header = ChainHeader::sign([12; 16], 99, &key);
        assert_eq!(ChainHeader::decode(&header.encode()), Ok(header));
        assert!(header.is_signed());
        assert!(
            ChainHeader::decode(&record.encode()).is_err() && ChainRecord::decode(&header.encode()).is_err()
        );
    }

    #[test]
    fn any_bit_flipped_is_seen_by_checksum_and_any_byte_rewritten_by_signature() {
        let key = key();
        let record = ChainRecord::sign(said(), 11, [12; 16], [13; 32], &key).encode();
        let header = ChainHeader::sign([12; 16], 99, &key).encode();
        for at in 0..RECORD_BYTES {
            for bit in 0..8 {
                let (mut flipped, mut flipped_header) = (record, header);
                flipped[at] ^= 1 << bit;
                flipped_header[at] ^= 1 << bit;
                assert!(
                    ChainRecord::decode(&flipped).is_err() && ChainHeader::decode(&flipped_header).is_err()
                );
                // Whoever alters a record can put the checksum right, and not the signature.
                for bytes in [&mut flipped, &mut flipped_header] {
                    let checksum = crc32fast::hash(&bytes[..CHECKED_BYTES]);
                    Put::at(bytes, CHECKED_BYTES).u32(checksum);
                }
                if at < SIGNED_BYTES + SIGNATURE_BYTES {
                    assert!(!ChainRecord::decode(&flipped).is_ok_and(|record| record.is_signed()), "{at}");
                    // Bytes of the header that carry nothing are not read, and say nothing.
                    let carries = !(9..16).contains(&at) && !(40..SIGNED_BYTES - 32).contains(&at);
                    let signed = ChainHeader::decode(&flipped_header).is_ok_and(|header| header.is_signed());
                    assert!(!signed || !carries, "{at}");
                }
            }
            assert!(ChainRecord::decode(&record[..at]).is_err());
        }
    }
}
