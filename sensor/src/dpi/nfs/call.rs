//! What the arguments and results of NFS say, as far as it is told: handles, names, and where a file's bytes are.
//!
//! Versions 2 and 3 have a procedure for each thing (RFC 1094 section 2.2, RFC 1813 section 3.3); version 4 has
//! compounds of operations (RFC 7531, RFC 8881), which are read up to the first one that is not known here.

use crate::dpi::rpc::message::opaque;
use crate::dpi::scan::Scan;

/// Bytes of a handle of version 2.
const HANDLE_BYTES_2: usize = 32;
/// Longest handle (RFC 8881 section 4.2).
const HANDLE_BYTES_MAX: usize = 128;
/// Longest name that is taken for one.
const NAME_BYTES_MAX: usize = 1024;
/// Most operations of a compound that are looked at.
const OPERATIONS_MAX: u32 = 32;
/// Bytes of a file's attributes in version 2 and 3.
const ATTRIBUTES_BYTES_2: usize = 68;
const ATTRIBUTES_BYTES_3: usize = 84;

/// What a call is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    #[default]
    Other,
    /// Finds or makes something whose handle the reply brings.
    Find,
    Rename,
    Read,
    Write,
    /// What was written is kept: the file is whole.
    Commit,
    ListPlus,
}

/// A call's arguments.
#[derive(Debug, Default)]
pub(super) struct Arguments<'a> {
    pub(super) what: What,
    /// The procedure, or of a compound the operation that it is made for.
    pub(super) procedure: u32,
    pub(super) handle: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) new_name: &'a [u8],
    pub(super) offset: u64,
    pub(super) count: u32,
    /// A file's bytes: from where to where they stand in the arguments. They may be longer than what is there.
    pub(super) data: Option<Data>,
}

/// Where a file's bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) start: usize,
    pub(super) length: u64,
}

/// A reply's results.
#[derive(Debug, Default)]
pub(super) struct Results<'a> {
    pub(super) status: u32,
    pub(super) handle: &'a [u8],
    pub(super) data: Option<Data>,
    pub(super) is_end: bool,
}

fn handle<'a>(scan: &mut Scan<'a>, version: u32) -> Option<&'a [u8]> {
    if version == 2 {
        return scan.take(HANDLE_BYTES_2);
    }
    opaque(scan).filter(|handle| handle.len() <= HANDLE_BYTES_MAX)
}

fn name<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    opaque(scan).filter(|name| name.len() <= NAME_BYTES_MAX)
}

fn data(scan: &mut Scan<'_>, whole: usize) -> Option<Data> {
    let length = u64::from(scan.be32()?);
    Some(Data { start: whole - scan.len(), length })
}

/// Reads the arguments of a call; what could not be read is left out.
pub(super) fn arguments(version: u32, procedure: u32, bytes: &[u8]) -> Arguments<'_> {
    let mut arguments = Arguments { procedure, ..Arguments::default() };
    let mut scan = Scan::new(bytes);
    let whole = bytes.len();
    let _ = match version {
        2 => read_2(procedure, &mut arguments, &mut scan, whole),
        3 => read_3(procedure, &mut arguments, &mut scan, whole),
        _ if procedure == 1 => compound(&mut arguments, &mut scan, whole),
        _ => None,
    };
    arguments
}

fn read_2<'a>(
    procedure: u32,
    arguments: &mut Arguments<'a>,
    scan: &mut Scan<'a>,
    whole: usize,
) -> Option<()> {
    if procedure == 0 || procedure == 3 || procedure == 7 {
        return Some(());
    }
    arguments.handle = handle(scan, 2)?;
    match procedure {
        4 | 9 | 14 => {
            arguments.what = What::Find;
            arguments.name = name(scan)?;
        }
        10 | 13 | 15 => arguments.name = name(scan)?,
        6 => {
            arguments.what = What::Read;
            (arguments.offset, arguments.count) = (scan.be32()?.into(), scan.be32()?);
        }
        8 => {
            arguments.what = What::Write;
            scan.be32()?;
            arguments.offset = scan.be32()?.into();
            scan.be32()?;
            arguments.data = data(scan, whole);
        }
        11 => rename(arguments, scan, 2)?,
        12 => {
            handle(scan, 2)?;
            arguments.name = name(scan)?;
        }
        _ => {}
    }
    Some(())
}

fn rename<'a>(arguments: &mut Arguments<'a>, scan: &mut Scan<'a>, version: u32) -> Option<()> {
    arguments.what = What::Rename;
    arguments.name = name(scan)?;
    handle(scan, version)?;
    arguments.new_name = name(scan)?;
    Some(())
}

fn read_3<'a>(
    procedure: u32,
    arguments: &mut Arguments<'a>,
    scan: &mut Scan<'a>,
    whole: usize,
) -> Option<()> {
    if procedure == 0 {
        return Some(());
    }
    arguments.handle = handle(scan, 3)?;
    match procedure {
        3 | 8..=11 => {
            arguments.what = What::Find;
            arguments.name = name(scan)?;
        }
        12 | 13 => arguments.name = name(scan)?,
        6 => {
            arguments.what = What::Read;
            (arguments.offset, arguments.count) = (scan.be64()?, scan.be32()?);
        }
        7 => {
            arguments.what = What::Write;
            (arguments.offset, arguments.count) = (scan.be64()?, scan.be32()?);
            scan.be32()?;
            arguments.data = data(scan, whole);
        }
        14 => rename(arguments, scan, 3)?,
        15 => {
            handle(scan, 3)?;
            arguments.name = name(scan)?;
        }
        17 => arguments.what = What::ListPlus,
        21 => arguments.what = What::Commit,
        _ => {}
    }
    Some(())
}

/// Operations of version 4.
mod op {
    pub(super) const ACCESS: u32 = 3;
    pub(super) const CLOSE: u32 = 4;
    pub(super) const COMMIT: u32 = 5;
    pub(super) const CREATE: u32 = 6;
    pub(super) const GETATTR: u32 = 9;
    pub(super) const GETFH: u32 = 10;
    pub(super) const LOOKUP: u32 = 15;
    pub(super) const LOOKUPP: u32 = 16;
    pub(super) const OPEN: u32 = 18;
    pub(super) const PUTFH: u32 = 22;
    pub(super) const PUTPUBFH: u32 = 23;
    pub(super) const PUTROOTFH: u32 = 24;
    pub(super) const READ: u32 = 25;
    pub(super) const READLINK: u32 = 27;
    pub(super) const REMOVE: u32 = 28;
    pub(super) const RENAME: u32 = 29;
    pub(super) const RENEW: u32 = 30;
    pub(super) const RESTOREFH: u32 = 31;
    pub(super) const SAVEFH: u32 = 32;
    pub(super) const SECINFO: u32 = 33;
    pub(super) const WRITE: u32 = 38;
    pub(super) const SEQUENCE: u32 = 53;
}

const STATEID_BYTES: usize = 16;

fn bitmap(scan: &mut Scan<'_>) -> Option<()> {
    let words = scan.be32().filter(|words| *words <= 8)?;
    scan.take(words as usize * 4)?;
    Some(())
}

fn compound<'a>(arguments: &mut Arguments<'a>, scan: &mut Scan<'a>, whole: usize) -> Option<()> {
    opaque(scan)?;
    scan.be32()?;
    let count = scan.be32()?;
    for _ in 0..count.min(OPERATIONS_MAX) {
        let operation = scan.be32()?;
        let is_around = matches!(
            operation,
            op::PUTFH | op::PUTROOTFH | op::PUTPUBFH | op::GETFH | op::SAVEFH | op::RESTOREFH | op::SEQUENCE
        );
        // Attributes are asked for behind nearly everything.
        let is_beside = matches!(operation, op::GETATTR | op::ACCESS) && arguments.procedure != 1;
        if !is_around && !is_beside {
            arguments.procedure = operation;
        }
        match operation {
            op::PUTROOTFH
            | op::PUTPUBFH
            | op::GETFH
            | op::SAVEFH
            | op::RESTOREFH
            | op::READLINK
            | op::LOOKUPP => {}
            op::PUTFH => arguments.handle = handle(scan, 4)?,
            op::SEQUENCE => drop(scan.take(32)?),
            op::ACCESS => drop(scan.be32()?),
            op::RENEW => drop(scan.be64()?),
            op::GETATTR => bitmap(scan)?,
            op::LOOKUP => {
                arguments.what = What::Find;
                arguments.name = name(scan)?;
            }
            op::REMOVE | op::SECINFO => arguments.name = name(scan)?,
            op::RENAME => {
                arguments.what = What::Rename;
                (arguments.name, arguments.new_name) = (name(scan)?, name(scan)?);
            }
            op::COMMIT => {
                arguments.what = What::Commit;
                scan.take(12)?;
            }
            op::CLOSE => {
                arguments.what = What::Commit;
                scan.take(4 + STATEID_BYTES)?;
            }
            op::READ => {
                arguments.what = What::Read;
                scan.take(STATEID_BYTES)?;
                (arguments.offset, arguments.count) = (scan.be64()?, scan.be32()?);
            }
            op::WRITE => {
                arguments.what = What::Write;
                scan.take(STATEID_BYTES)?;
                arguments.offset = scan.be64()?;
                scan.be32()?;
                arguments.data = data(scan, whole);
                return Some(());
            }
            op::OPEN => {
                arguments.what = What::Find;
                open(arguments, scan)?;
            }
            op::CREATE => {
                arguments.what = What::Find;
                match scan.be32()? {
                    5 => drop(opaque(scan)?),
                    3 | 4 => drop(scan.be64()?),
                    _ => {}
                }
                arguments.name = name(scan)?;
                bitmap(scan)?;
                opaque(scan)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// OPEN (RFC 8881 section 18.16), up to the name.
fn open<'a>(arguments: &mut Arguments<'a>, scan: &mut Scan<'a>) -> Option<()> {
    scan.take(4 + 4 + 4 + 8)?;
    opaque(scan)?;
    if scan.be32()? == 1 {
        match scan.be32()? {
            0 | 1 => {
                bitmap(scan)?;
                opaque(scan)?;
            }
            2 => drop(scan.be64()?),
            _ => {
                scan.be64()?;
                bitmap(scan)?;
                opaque(scan)?;
            }
        }
    }
    match scan.be32()? {
        0 => arguments.name = name(scan)?,
        _ => return None,
    }
    Some(())
}

/// Reads the results of a reply to a call of this kind.
pub(super) fn results(version: u32, procedure: u32, what: What, bytes: &[u8]) -> Results<'_> {
    let mut results = Results::default();
    let mut scan = Scan::new(bytes);
    // NULL answers nothing.
    results.status = if procedure == 0 { 0 } else { scan.be32().unwrap_or_default() };
    if results.status == 0 {
        let _ = if version == 4 {
            compound_results(&mut results, &mut scan, bytes.len())
        } else {
            single_results(version, procedure, what, &mut results, &mut scan, bytes.len())
        };
    }
    results
}

fn single_results<'a>(
    version: u32,
    procedure: u32,
    what: What,
    results: &mut Results<'a>,
    scan: &mut Scan<'a>,
    whole: usize,
) -> Option<()> {
    match (version, what) {
        (2, What::Find) => results.handle = handle(scan, 2)?,
        (2, What::Read) => {
            scan.take(ATTRIBUTES_BYTES_2)?;
            results.data = data(scan, whole);
        }
        // Only what is made may come without its handle.
        (3, What::Find) if procedure == 3 || scan.be32()? == 1 => results.handle = handle(scan, 3)?,
        (3, What::Read) => {
            attributes(scan)?;
            scan.be32()?;
            results.is_end = scan.be32()? == 1;
            results.data = data(scan, whole);
        }
        _ => {}
    }
    Some(())
}

fn attributes(scan: &mut Scan<'_>) -> Option<()> {
    if scan.be32()? == 1 {
        scan.take(ATTRIBUTES_BYTES_3)?;
    }
    Some(())
}

/// Names and handles of READDIRPLUS (RFC 1813 section 3.3.17).
pub(super) fn entries<'a>(results: &'a [u8], mut found: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    let mut scan = Scan::new(results);
    scan.be32().filter(|status| *status == 0)?;
    attributes(&mut scan)?;
    scan.be64()?;
    while scan.be32()? == 1 {
        scan.be64()?;
        let name = name(&mut scan)?;
        scan.be64()?;
        attributes(&mut scan)?;
        if scan.be32()? == 1 {
            found(handle(&mut scan, 3)?, name);
        }
    }
    Some(())
}

fn compound_results<'a>(results: &mut Results<'a>, scan: &mut Scan<'a>, whole: usize) -> Option<()> {
    opaque(scan)?;
    let count = scan.be32()?;
    for _ in 0..count.min(OPERATIONS_MAX) {
        let (operation, status) = (scan.be32()?, scan.be32()?);
        if status != 0 {
            return None;
        }
        match operation {
            op::PUTFH
            | op::PUTROOTFH
            | op::PUTPUBFH
            | op::SAVEFH
            | op::RESTOREFH
            | op::LOOKUP
            | op::LOOKUPP => {}
            op::SEQUENCE => drop(scan.take(36)?),
            op::ACCESS => drop(scan.be64()?),
            op::GETATTR => {
                bitmap(scan)?;
                opaque(scan)?;
            }
            op::GETFH => results.handle = handle(scan, 4)?,
            op::READ => {
                results.is_end = scan.be32()? == 1;
                results.data = data(scan, whole);
                return Some(());
            }
            op::CREATE => {
                scan.take(20)?;
                bitmap(scan)?;
            }
            op::OPEN => {
                scan.take(STATEID_BYTES + 20 + 4)?;
                bitmap(scan)?;
                match scan.be32()? {
                    0 => {}
                    // Why there is no delegation.
                    3 => {
                        if matches!(scan.be32()?, 1 | 2) {
                            scan.be32()?;
                        }
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
    Some(())
}
