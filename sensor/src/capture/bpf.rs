//! Filters in the language of pcap-filter(7), compiled and run by libpcap.
//!
//! In: an expression and a link type, then frames. Out: whether a frame matches, exactly as tcpdump
//! would say of the same bytes. Deliberately absent: any reading of the expression of our own; what
//! libpcap's compiler and interpreter say is what the words mean.
//!
//! The `pcap` crate runs a program with the captured length as the length on the wire, so that
//! `less`, `greater` and `len` would lie about frames that were cut off. Here the interpreter gets both.
//! The program is copied out of libpcap's memory, so that threads can share it.
#![allow(unsafe_code)] // one call into libpcap's interpreter, which the `pcap` crate does not offer

use super::reach::{Instruction, reach};
use super::{CaptureError, LinkType};
use pcap::{BpfInstruction, Capture, Linktype};
use std::ffi::{c_uchar, c_uint};
use std::sync::Arc;

/// Longest expression that is handed to libpcap, in bytes; a longer one is refused.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;

unsafe extern "C" {
    fn bpf_filter(
        program: *const Instruction,
        packet: *const c_uchar,
        wire_len: c_uint,
        captured_len: c_uint,
    ) -> c_uint;
    fn bpf_validate(program: *const Instruction, length: std::ffi::c_int) -> std::ffi::c_int;
}

// libpcap's `struct bpf_insn`, whose fields the `pcap` crate keeps to itself, and ours are the same eight bytes.
const _: () = assert!(size_of::<BpfInstruction>() == size_of::<Instruction>());
const _: () = assert!(align_of::<BpfInstruction>() == align_of::<Instruction>());

/// A compiled filter for one link type.
#[derive(Clone)]
pub struct Filter {
    program: Arc<[Instruction]>,
    reach: Option<u32>,
}

impl Filter {
    /// Compiles a pcap-filter(7) expression. The empty expression matches everything.
    pub fn compile(expression: &str, link: LinkType) -> Result<Filter, CaptureError> {
        let wrong = |message: String| CaptureError::Filter { expression: expression.to_owned(), message };
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(wrong(format!(
                "{} bytes, at most {EXPRESSION_BYTES_MAX} are taken",
                expression.len()
            )));
        }
        if expression.contains('\0') {
            return Err(wrong("contains a NUL byte".into()));
        }
        let compiled = Capture::dead(data_link(link)).and_then(|dead| dead.compile(expression, true));
        let program = compiled.map_err(|error| wrong(message(&error)))?;
        let compiled = program.get_instructions();
        // SAFETY: `BpfInstruction` is a transparent wrapper of `struct bpf_insn` (u16, u8, u8, u32 in this
        // order), which is what `Instruction` is in C's layout; size and alignment are checked above. The
        // slice is copied before `program`, which owns it, is dropped.
        let program: Arc<[Instruction]> =
            unsafe { std::slice::from_raw_parts(compiled.as_ptr().cast::<Instruction>(), compiled.len()) }
                .into();
        let length = std::ffi::c_int::try_from(program.len()).unwrap_or(0);
        // SAFETY: the pointer and the length are those of one slice that outlives the call.
        let valid = length > 0 && unsafe { bpf_validate(program.as_ptr(), length) } != 0;
        if !valid {
            return Err(wrong("libpcap's program is not valid".into()));
        }
        let reach = reach(&program);
        Ok(Filter { program, reach })
    }

    /// How many bytes from the begin of a frame decide: with that many, or all there are, [`Filter::matches`]
    /// says what it says of the whole frame. None: no bound is known, the whole frame is needed.
    #[inline]
    pub fn reach(&self) -> Option<u32> {
        self.reach
    }

    /// Whether a frame matches: `data` is what was captured of `wire_len` bytes on the wire.
    #[inline]
    pub fn matches(&self, data: &[u8], wire_len: u32) -> bool {
        let captured_len = c_uint::try_from(data.len()).unwrap_or(c_uint::MAX);
        // SAFETY: `compile` let `bpf_validate` prove that every jump stays inside the program and that it
        // ends in a return; the interpreter reads the packet only below `captured_len`, which is the
        // length of `data`. Both outlive the call.
        unsafe { bpf_filter(self.program.as_ptr(), data.as_ptr(), wire_len, captured_len) != 0 }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} instructions)", self.program.len())
    }
}

/// A file's LINKTYPE to this system's DLT; they differ in the few historic cases of tcpdump.org/linktypes.html.
fn data_link(link: LinkType) -> Linktype {
    Linktype(match link.0 {
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        other => i32::from(other),
    })
}

fn message(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, IPv4, UDP from 10.0.0.1:1000 to 10.0.0.2:53, four bytes of payload.
    const DNS: [u8; 46] = [
        0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 8, 0, // Ethernet
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IPv4
        3, 232, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4, // UDP
    ];

    fn matches(expression: &str, link: LinkType, data: &[u8], wire_len: u32) -> bool {
        Filter::compile(expression, link).unwrap().matches(data, wire_len)
    }

    #[test]
    fn a_frame_matches_as_tcpdump_says() {
        for (expression, want) in [
            ("", true),
            ("udp port 53", true),
            ("not port 53", false),
            ("host 10.0.0.1 and dst net 10.0.0.0/8", true),
            ("src host 10.0.0.2", false),
            ("ip6", false),
        ] {
            assert_eq!(matches(expression, LinkType::ETHERNET, &DNS, 46), want, "{expression}");
        }
        assert!(matches("port 53", LinkType::RAW, &DNS[14..], 32));
        assert!(matches("port 53", LinkType::IPV4, &DNS[14..], 32));
    }

    #[test]
    fn the_length_is_the_one_on_the_wire() {
        assert!(matches("greater 1000", LinkType::ETHERNET, &DNS, 1000));
        assert!(!matches("greater 1000", LinkType::ETHERNET, &DNS, 999));
    }

    #[test]
    fn every_cut_frame_is_safe_to_ask_about() {
        let filter = Filter::compile("udp port 53 or tcp[13] & 2 != 0", LinkType::ETHERNET).unwrap();
        for length in 0..DNS.len() {
            assert_eq!(filter.matches(&DNS[..length], 46), length >= 38, "{length}");
        }
    }

    #[test]
    fn what_does_not_compile_says_libpcaps_words() {
        let error = Filter::compile("port banana and and", LinkType::ETHERNET).unwrap_err().to_string();
        assert!(error.starts_with("filter `port banana and and`: "), "{error}");
        assert!(Filter::compile("host 1.2.3.4\0", LinkType::ETHERNET).is_err());
        assert!(Filter::compile(&"ip or ".repeat(20_000), LinkType::ETHERNET).is_err());
    }
}
