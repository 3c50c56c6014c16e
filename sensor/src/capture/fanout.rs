//! Joining a packet socket to a fanout group (packet(7)), which libpcap does not offer.
//!
//! The kernel shares an interface's frames among the group by a small program of ours. Its hash is the same
//! for both directions, so that a flow stays with one member. TCP is shared by addresses and ports; all else
//! by addresses alone, so that the fragments of a datagram follow the flow they belong to. The kernel's own
//! hash (`PACKET_FANOUT_HASH`) would part them, and its remedy (`PACKET_FANOUT_FLAG_DEFRAG`) puts datagrams
//! together before they are captured: packets would be counted, and kept, that were never on the wire.

#![allow(unsafe_code, reason = "fanout and its program are set by socket options that no safe wrapper has")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;
const ETHERTYPE_VLAN: [u32; 2] = [0x8100, 0x88a8];
const TCP: u32 = 6;

/// Puts the socket into group `group`, unique in this network namespace.
pub(super) fn join(socket: BorrowedFd<'_>, group: u16) -> io::Result<()> {
    let argument: libc::c_uint = u32::from(group) | libc::PACKET_FANOUT_CBPF << 16;
    set_option(socket, libc::PACKET_FANOUT, &argument)?;
    let mut program = program();
    let argument = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(socket, libc::PACKET_FANOUT_DATA, &argument)
}

fn set_option<T>(socket: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call's duration because it is borrowed; the value's address and size are
    // its own, and what a sock_fprog points to lives in the caller until the call, which copies it, returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The classic BPF program that gives a frame's hash; the kernel takes it modulo the group's size.
///
/// The outermost VLAN tag is out of band; one more is stepped over. What is no IP goes to the first member.
fn program() -> Vec<libc::sock_filter> {
    let plain = after_ethertype(0);
    let tagged = after_ethertype(4);
    let mut code = vec![op(
        libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
        (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32,
    )];
    code.push(jump_if(ETHERTYPE_VLAN[0], 1, 0));
    code.push(jump_if(ETHERTYPE_VLAN[1], 0, 1 + tagged.len() as u8));
    code.push(load(libc::BPF_H, 2));
    code.extend(tagged);
    code.extend(plain);
    code
}

/// Expects the Ethertype in the accumulator and the IP header `base` bytes after the network header's start.
fn after_ethertype(base: u32) -> Vec<libc::sock_filter> {
    let v4 = hash_v4(base);
    let v6 = hash_v6(base);
    let mut code = vec![jump_if(ETHERTYPE_IPV4, 0, v4.len() as u8)];
    code.extend(v4);
    code.push(jump_if(ETHERTYPE_IPV6, 0, v6.len() as u8));
    code.extend(v6);
    code.push(op(libc::BPF_RET | libc::BPF_K, 0));
    code
}

fn hash_v4(base: u32) -> Vec<libc::sock_filter> {
    let mut code = xor_of(libc::BPF_W, &[base + 12, base + 16]);
    code.push(op(libc::BPF_ST, 0));
    let ports = ports(base + 20);
    // TCP, without options in the IP header, and no fragment.
    code.push(load(libc::BPF_B, base + 9));
    code.push(jump_if(TCP, 0, 4 + ports.len() as u8));
    code.push(load(libc::BPF_B, base));
    code.push(jump_if(0x45, 0, 2 + ports.len() as u8));
    code.push(load(libc::BPF_H, base + 6));
    code.push(libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16,
        jt: ports.len() as u8,
        jf: 0,
        k: 0x3fff,
    });
    code.extend(ports);
    code.extend(mixed());
    code
}

fn hash_v6(base: u32) -> Vec<libc::sock_filter> {
    let words: Vec<u32> = (0..8).map(|word| base + 8 + 4 * word).collect();
    let mut code = xor_of(libc::BPF_W, &words);
    code.push(op(libc::BPF_ST, 0));
    let ports = ports(base + 40);
    code.push(load(libc::BPF_B, base + 6));
    code.push(jump_if(TCP, 0, ports.len() as u8));
    code.extend(ports);
    code.extend(mixed());
    code
}

/// Adds both ports to the hash in the scratch word.
fn ports(at: u32) -> Vec<libc::sock_filter> {
    let mut code = xor_of(libc::BPF_H, &[at, at + 2]);
    code.push(op(libc::BPF_MISC | libc::BPF_TAX, 0));
    code.push(op(libc::BPF_LD | libc::BPF_MEM, 0));
    code.push(op(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0));
    code.push(op(libc::BPF_ST, 0));
    code
}

/// Spreads the scratch word over its low bits and returns them (Knuth's multiplicative hashing).
fn mixed() -> [libc::sock_filter; 4] {
    [
        op(libc::BPF_LD | libc::BPF_MEM, 0),
        op(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, 0x9e37_79b1),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16),
        op(libc::BPF_RET | libc::BPF_A, 0),
    ]
}

/// The exclusive or of loads: the same whichever end sent the frame.
fn xor_of(size: u32, offsets: &[u32]) -> Vec<libc::sock_filter> {
    let mut code = Vec::new();
    for (index, offset) in offsets.iter().enumerate() {
        if index > 0 {
            code.push(op(libc::BPF_MISC | libc::BPF_TAX, 0));
        }
        code.push(load(size, *offset));
        if index > 0 {
            code.push(op(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0));
        }
    }
    code
}

/// A load relative to the network header. Beyond the frame's end the program ends with 0.
fn load(size: u32, offset: u32) -> libc::sock_filter {
    op(libc::BPF_LD | size | libc::BPF_ABS, (libc::SKF_NET_OFF as u32).wrapping_add(offset))
}

fn jump_if(value: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k: value }
}

fn op(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every jump lands within the program, and every path ends in a return.
    #[test]
    fn the_program_is_well_formed() {
        let program = program();
        let returns = |at: usize| u32::from(program[at].code) & 0x07 == libc::BPF_RET;
        for (at, op) in program.iter().enumerate() {
            if u32::from(op.code) & 0x07 == libc::BPF_JMP {
                assert!(at + 1 + usize::from(op.jt.max(op.jf)) < program.len(), "jump at {at}");
            }
        }
        assert!(returns(program.len() - 1));
        assert!(program.len() < 4096, "the kernel's limit");
    }
}
