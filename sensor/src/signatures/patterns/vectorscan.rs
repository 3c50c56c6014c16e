//! The literal matcher of libhs: Vectorscan, or Hyperscan, from which it descends.
//!
//! In: patterns, then bytes. Out: which patterns occur. The library is looked for when the program runs, so that
//! building needs nothing of it and the program runs where it is absent. It is never unloaded. Deliberately
//! absent: everything but block mode, and expressions other than literals.
#![allow(unsafe_code, reason = "a C library, met at run time, has no safe face")]

use super::{Found, Pattern};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::fmt;
use std::ptr::{NonNull, null, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Names the library goes by: what Debian's libvectorscan5 and libhyperscan5 install, then that of a build from
/// source.
const NAMES: [&CStr; 2] = [c"libhs.so.5", c"libhs.so"];

/// `HS_SUCCESS` of hs_common.h.
const SUCCESS: c_int = 0;
/// `HS_FLAG_CASELESS` of hs_compile.h: ASCII letters alone, for nothing asks for Unicode. The only flag that is used:
/// with `HS_FLAG_SINGLEMATCH` 5.4.9 misses single bytes beyond the 64th of a buffer, and it makes nothing faster.
const CASELESS: c_uint = 1;
/// `HS_MODE_BLOCK`: whole buffers.
const BLOCK: c_uint = 1;

/// `match_event_handler`: pattern, start, end, flags, context; other than 0 ends the scan.
type OnMatch = extern "C" fn(c_uint, c_ulonglong, c_ulonglong, c_uint, *mut c_void) -> c_int;

/// `hs_compile_error_t`.
#[repr(C)]
struct CompileError {
    message: *const c_char,
    expression: c_int,
}

type CompileMulti = unsafe extern "C" fn(
    *const *const c_char,
    *const c_uint,
    *const c_uint,
    c_uint,
    c_uint,
    *const c_void,
    *mut *mut c_void,
    *mut *mut CompileError,
) -> c_int;
type Scan = unsafe extern "C" fn(
    *const c_void,
    *const c_char,
    c_uint,
    c_uint,
    *mut c_void,
    OnMatch,
    *mut c_void,
) -> c_int;

type FreeCompileError = unsafe extern "C" fn(*mut CompileError) -> c_int;
/// `hs_database_size` and `hs_scratch_size`.
type Size = unsafe extern "C" fn(*const c_void, *mut usize) -> c_int;
type AllocScratch = unsafe extern "C" fn(*const c_void, *mut *mut c_void) -> c_int;
/// `hs_free_database` and `hs_free_scratch`.
type Free = unsafe extern "C" fn(*mut c_void) -> c_int;
/// `hs_serialize_database`.
type Serialize = unsafe extern "C" fn(*const c_void, *mut *mut c_char, *mut usize) -> c_int;
/// `hs_deserialize_database`.
type Deserialize = unsafe extern "C" fn(*const c_char, usize, *mut *mut c_void) -> c_int;
type ValidPlatform = unsafe extern "C" fn() -> c_int;
type Version = unsafe extern "C" fn() -> *const c_char;

/// The functions of the library that are used.
struct Library {
    version: String,
    /// The version and the day it was built, as the library says them.
    build: String,
    compile_multi: CompileMulti,
    free_compile_error: FreeCompileError,
    database_size: Size,
    free_database: Free,
    serialize_database: Serialize,
    deserialize_database: Deserialize,
    alloc_scratch: AllocScratch,
    scratch_size: Size,
    free_scratch: Free,
    scan: Scan,
}

/// The library, loaded by the first who asks.
fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    LIBRARY.get_or_init(Library::open).as_ref()
}

/// Loads the library; its version, or nothing if there is none that runs on this processor.
pub(super) fn version() -> Option<&'static str> {
    library().map(|library| library.version.as_str())
}

/// What tells this library from every other whose databases may differ: Hyperscan and Vectorscan have had the same
/// versions, and their databases look alike.
pub(super) fn build() -> &'static str {
    library().map_or("", |library| library.build.as_str())
}

/// A function of a library by its name and type; leaves the function around it if there is none.
macro_rules! symbol {
    ($handle:expr, $name:literal, $kind:ty) => {{
        // SAFETY: the handle is an open library's and the name ends with NUL.
        let address = NonNull::new(unsafe { libc::dlsym($handle, $name.as_ptr()) })?;
        // SAFETY: libhs 5 declares the function of this name with the signature of the type given
        // (hs_common.h, hs_compile.h, hs_runtime.h), and the address is not null.
        unsafe { std::mem::transmute::<*mut c_void, $kind>(address.as_ptr()) }
    }};
}

impl Library {
    fn open() -> Option<Library> {
        // SAFETY: names that end with NUL; the library's initialisers do nothing but choose code for the processor.
        let open = |name: &CStr| NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) });
        let handle = NAMES.into_iter().find_map(open)?.as_ptr();
        let valid_platform = symbol!(handle, c"hs_valid_platform", ValidPlatform);
        let version = symbol!(handle, c"hs_version", Version);
        // SAFETY: takes nothing and reads what processor this is.
        if unsafe { valid_platform() } != SUCCESS {
            return None;
        }
        // SAFETY: the library returns a text of its own that ends with NUL and is never freed.
        let build = unsafe { CStr::from_ptr(version()) }.to_string_lossy().into_owned();
        // "5.4.9 2023-03-23": to people the day it was built says nothing.
        let version = build.split_whitespace().next().filter(|version| version.starts_with("5."))?;
        Some(Library {
            version: format!("libhs {version}"),
            build,
            compile_multi: symbol!(handle, c"hs_compile_multi", CompileMulti),
            free_compile_error: symbol!(handle, c"hs_free_compile_error", FreeCompileError),
            database_size: symbol!(handle, c"hs_database_size", Size),
            free_database: symbol!(handle, c"hs_free_database", Free),
            serialize_database: symbol!(handle, c"hs_serialize_database", Serialize),
            deserialize_database: symbol!(handle, c"hs_deserialize_database", Deserialize),
            alloc_scratch: symbol!(handle, c"hs_alloc_scratch", AllocScratch),
            scratch_size: symbol!(handle, c"hs_scratch_size", Size),
            free_scratch: symbol!(handle, c"hs_free_scratch", Free),
            scan: symbol!(handle, c"hs_scan", Scan),
        })
    }
}

/// Gives back to the system what the library used while it compiled. It allocates with the C library, whose memory nothing else
/// here uses: what compiling leaves free there would stay the process's for good.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: it frees nothing that is in use, and may be called at any time from any thread (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// As above: other C libraries give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}

/// Compiled patterns.
pub(in super::super) struct Database {
    library: &'static Library,
    database: NonNull<c_void>,
    ids: Box<[u32]>,
    /// What tells it from every other in the life of the program: which scratch space is large enough is
    /// remembered by it.
    number: usize,
}

// SAFETY: a database is not changed after it was compiled, and may be used by any thread.
unsafe impl Send for Database {}
// SAFETY: as above; the library's documentation says that threads may scan with one database at the same time.
unsafe impl Sync for Database {}

impl Database {
    /// Compiles patterns; none is an error.
    pub(super) fn compile(patterns: &[Pattern]) -> Result<Database, String> {
        let library = library().ok_or("libhs is not installed")?;
        let mut expressions = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            expressions.push(expression(&pattern.bytes)?);
        }
        let pointers: Vec<_> = expressions.iter().map(|expression| expression.as_ptr()).collect();
        let flag = |pattern: &Pattern| if pattern.is_nocase { CASELESS } else { 0 };
        let flags: Vec<_> = patterns.iter().map(flag).collect();
        let ids: Box<[u32]> = patterns.iter().map(|pattern| pattern.id).collect();
        let count = u32::try_from(patterns.len()).map_err(|_| "too many patterns".to_owned())?;
        let (mut database, mut error) = (null_mut(), null_mut::<CompileError>());
        // SAFETY: three arrays of `count` elements, the first of texts that end with NUL, all of which outlive the
        // call; no platform means this one; both results are places to write a pointer to.
        let result = unsafe {
            (library.compile_multi)(
                pointers.as_ptr(),
                flags.as_ptr(),
                ids.as_ptr(),
                count,
                BLOCK,
                null(),
                &mut database,
                &mut error,
            )
        };
        match NonNull::new(database).filter(|_| result == SUCCESS) {
            Some(database) => Ok(Database::new(library, database, ids)),
            None => Err(library.reason(error)),
        }
    }

    fn new(library: &'static Library, database: NonNull<c_void>, ids: Box<[u32]>) -> Database {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        Database { library, database, ids, number: NUMBERS.fetch_add(1, Ordering::Relaxed) }
    }

    /// What [`Database::kept`] makes the same of, on processors that the library takes for alike.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let (mut bytes, mut length) = (null_mut::<c_char>(), 0);
        // SAFETY: a database of this library that has not been freed, and places to write a pointer and a size to.
        let result =
            unsafe { (self.library.serialize_database)(self.database.as_ptr(), &mut bytes, &mut length) };
        let bytes = NonNull::new(bytes).filter(|_| result == SUCCESS)?;
        // SAFETY: the library wrote `length` bytes there, which nobody changes.
        let copy = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), length) }.to_vec();
        // SAFETY: the library allocated them with the C library's malloc, whose `free` its documentation asks for unless
        // another allocator was set, which nobody does here.
        unsafe { libc::free(bytes.as_ptr().cast()) };
        Some(copy)
    }

    /// The database of these patterns again, from [`Database::bytes`]: none where another version of the library made
    /// them, or for another processor, or where they are damaged. The caller vouches for who wrote them: the library
    /// looks at no more than a checksum.
    pub(super) fn kept(patterns: &[Pattern], bytes: &[u8]) -> Option<Database> {
        let library = library()?;
        let mut database = null_mut();
        // SAFETY: `bytes` are as many readable bytes as it is told, and a place to write a pointer to. What they hold was
        // written by `Database::bytes` of this user's (`super::cache`), and the library refuses what its checksum
        // does not fit.
        let result =
            unsafe { (library.deserialize_database)(bytes.as_ptr().cast(), bytes.len(), &mut database) };
        let database = NonNull::new(database).filter(|_| result == SUCCESS)?;
        let ids = patterns.iter().map(|pattern| pattern.id).collect();
        Some(Database::new(library, database, ids))
    }

    /// What it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let mut bytes = 0;
        // SAFETY: a database of this library that has not been freed, and a place to write a size to.
        unsafe { (self.library.database_size)(self.database.as_ptr(), &mut bytes) };
        bytes + size_of_val(&*self.ids)
    }

    /// The numbers of its patterns.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tells the patterns that occur. An error: not all were told.
    pub(super) fn scan(
        &self,
        bytes: &[u8],
        scratch: &mut Scratch,
        found: &mut Found<'_>,
    ) -> Result<(), c_int> {
        scratch.fit(self)?;
        // Longer than any buffer of the engine; the caller takes all patterns for found.
        let length = u32::try_from(bytes.len()).map_err(|_| c_int::MIN)?;
        // SAFETY: the database lives as long as `self`; `bytes` are `length` readable bytes; the scratch space was
        // allocated for this database just now or before, and `&mut` lets no one else use it meanwhile; `tell`
        // gets the context that it expects, which outlives the call and is not touched by others during it.
        let result = unsafe {
            (self.library.scan)(
                self.database.as_ptr(),
                bytes.as_ptr().cast(),
                length,
                0,
                scratch.space,
                tell,
                std::ptr::from_mut(found).cast(),
            )
        };
        if result == SUCCESS { Ok(()) } else { Err(result) }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("patterns", &self.ids.len()).finish_non_exhaustive()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: allocated by the library, freed once, and used by nobody any more.
        unsafe { (self.library.free_database)(self.database.as_ptr()) };
    }
}

/// What a thread needs for scanning.
#[derive(Default)]
pub(super) struct Scratch {
    space: *mut c_void,
    /// The databases it is large enough for: a bit each, by their numbers.
    fitted: Vec<u64>,
}

// SAFETY: it is memory that only scanning with `&mut` touches; the library does not mind which thread that is.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Makes it large enough for a database, unless it is.
    pub(super) fn fit(&mut self, database: &Database) -> Result<(), c_int> {
        let (word, bit) = (database.number / 64, 1u64 << (database.number % 64));
        if self.fitted.get(word).is_some_and(|word| word & bit != 0) {
            return Ok(());
        }
        // SAFETY: a database that has not been freed, and a pointer that is null or the library's own scratch space,
        // which the library frees if it replaces it. What it was large enough for before it still is.
        let result = unsafe { (database.library.alloc_scratch)(database.database.as_ptr(), &mut self.space) };
        if result != SUCCESS {
            // The library may have freed what was there; it has then set the pointer to null.
            self.fitted.clear();
            return Err(result);
        }
        if self.fitted.len() <= word {
            self.fitted.resize(word + 1, 0);
        }
        if let Some(word) = self.fitted.get_mut(word) {
            *word |= bit;
        }
        Ok(())
    }

    /// What it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let Some(library) = library().filter(|_| !self.space.is_null()) else { return 0 };
        let mut bytes = 0;
        // SAFETY: scratch space of this library, and a place to write a size to.
        unsafe { (library.scratch_size)(self.space, &mut bytes) };
        bytes
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(library) = library().filter(|_| !self.space.is_null()) {
            // SAFETY: allocated by the library, freed once, and in use by no scan, for that would borrow it.
            unsafe { (library.free_scratch)(self.space) };
        }
    }
}

impl Library {
    /// Why compiling failed, in the library's words.
    fn reason(&self, error: *mut CompileError) -> String {
        let Some(error) = NonNull::new(error) else { return "no reason given".to_owned() };
        // SAFETY: the library allocated it and gave it to us; its message is null or ends with NUL.
        let (message, expression) = unsafe {
            let CompileError { message, expression } = error.read();
            let text = NonNull::new(message.cast_mut()).map(|text| CStr::from_ptr(text.as_ptr()));
            (text.map(|text| text.to_string_lossy().into_owned()), expression)
        };
        // SAFETY: allocated by the library and freed once; nothing of it is borrowed any more.
        unsafe { (self.free_compile_error)(error.as_ptr()) };
        format!("{} (pattern {expression})", message.unwrap_or_default())
    }
}

/// Called for each match. It cannot unwind into the library: what panics here ends the program, and nothing does.
extern "C" fn tell(id: c_uint, _: c_ulonglong, end: c_ulonglong, _: c_uint, context: *mut c_void) -> c_int {
    // SAFETY: the context is the one that `Database::scan` gives, which holds it by `&mut` and waits for us. Its
    // lifetime, which C cannot carry, is longer than this call.
    let found = unsafe { &mut *context.cast::<Found<'_>>() };
    found.ends_at(id, end);
    0
}

/// The expression that means these bytes and nothing else: the call for pure literals would refuse a NUL at the
/// beginning, and an expression can write it.
fn expression(bytes: &[u8]) -> Result<CString, String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(bytes.len() * 4);
    for byte in bytes {
        if byte.is_ascii_alphanumeric() {
            text.push(*byte);
        } else {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            text.extend([b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    CString::new(text).map_err(|error| error.to_string())
}
