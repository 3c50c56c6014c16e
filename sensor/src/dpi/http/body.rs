//! The body of a message as the file, or files, in it.
//!
//! In: the head that describes it, its bytes as they were sent (chunks already put together), what is missing.
//! Out: [`FileBody`]s, their content codings taken off; where signatures look, what they look into. Holds what decoders
//! and forms hold, and for signatures up to [`BODY_BYTES_MAX`].

use super::decode::{DecodeError, Decoding};
use super::head::{Head, Part};
use super::multipart::{Multipart, file_name};
use super::uri::Target;
use crate::dpi::buffers::{BODY_BYTES_MAX, Buffer};
use crate::dpi::{Context, FileBody, dns, file};
use weir_common::app::App;
use weir_common::net::Direction;

/// A body on its way.
#[derive(Debug)]
pub(in crate::dpi) struct Body {
    decoding: Decoding,
    content: Content,
    transaction: u64,
    /// Bytes of it were not seen: what is behind them cannot be decoded.
    is_lost: bool,
    /// Of a DNS message (RFC 8484) what came so far.
    message: Option<Vec<u8>>,
    /// What signatures will be told of it.
    told: Option<Told>,
    direction: Direction,
    is_request: bool,
}

/// The bytes of a body for signatures.
#[derive(Debug)]
struct Told {
    buffer: Buffer,
    /// They are a file's as well.
    is_file: bool,
    bytes: Vec<u8>,
    /// Files have more to tell when they end.
    is_awaited: bool,
}

impl Told {
    /// What signatures want of a body.
    fn begin(is: &Description<'_>, has_form: bool, context: &Context<'_>) -> Option<Told> {
        let wanted = context.wanted?;
        let body = if is.is_request { Buffer::HttpRequestBody } else { Buffer::HttpResponseBody };
        // The files of a form tell their own bytes.
        let is_file = is.is_file && !has_form && wanted.has(Buffer::FileData);
        let buffer = match wanted.has(body) {
            true => body,
            false if is_file => Buffer::FileData,
            false => return None,
        };
        let is_awaited = file::is_whole_wanted(wanted);
        Some(Told { buffer, is_file: is_file && buffer == body, bytes: Vec::new(), is_awaited })
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BODY_BYTES_MAX
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = BODY_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn tell(self, direction: Direction, transaction: u64, context: &mut Context<'_>) {
        if !self.bytes.is_empty()
            && let Some(side) = context.side(direction, transaction)
        {
            side.put_whole(self.buffer, self.bytes);
            if self.is_file {
                side.share(Buffer::FileData);
            }
        }
    }
}

/// Longest DNS message; of a longer one nothing is told.
const MESSAGE_BYTES_MAX: usize = 65535;

#[derive(Debug)]
enum Content {
    File(Box<FileBody>),
    Form(Multipart),
    /// Only signatures look at it.
    Nothing,
}

/// What a body is known by.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::dpi) struct Description<'a> {
    pub(in crate::dpi) content_type: &'a [u8],
    pub(in crate::dpi) content_encoding: &'a [u8],
    pub(in crate::dpi) content_disposition: &'a [u8],
    pub(in crate::dpi) content_range: &'a [u8],
    /// Of the request, also where the body is the response's.
    pub(in crate::dpi) target: &'a [u8],
    pub(in crate::dpi) is_post: bool,
    pub(in crate::dpi) is_request: bool,
    /// What it holds is a file, or files: not so with every request.
    pub(in crate::dpi) is_file: bool,
}

impl<'a> Description<'a> {
    pub(super) fn of(head: &'a Head, request: Option<&'a Head>) -> Description<'a> {
        let get = |part| head.get(part).unwrap_or_default();
        Description {
            content_type: get(Part::ContentType),
            content_encoding: get(Part::ContentEncoding),
            content_disposition: get(Part::ContentDisposition),
            content_range: get(Part::ContentRange),
            target: request.and_then(|request| request.get(Part::Target)).unwrap_or_default(),
            is_post: head.get(Part::Method) == Some(b"POST"),
            is_request: !head.is_response(),
            is_file: head.is_response() || matches!(head.get(Part::Method), Some(b"POST" | b"PUT")),
        }
    }
}

impl Body {
    /// A body begins. None: nobody wants to know, or it cannot be decoded.
    pub(in crate::dpi) fn begin(
        is: &Description<'_>,
        direction: Direction,
        transaction: u64,
        context: &mut Context<'_>,
    ) -> Option<Box<Body>> {
        let follows_files =
            is.is_file && (context.files.enabled || context.wanted.is_some_and(file::is_wanted));
        let is_form = is.is_post && follows_files;
        let form = is_form.then(|| Multipart::new(is.content_type, direction, transaction)).flatten();
        let told = Told::begin(is, form.is_some(), context);
        if !follows_files && told.is_none() {
            return None;
        }
        let Some(decoding) = Decoding::new(is.content_encoding, &context.files.decoders) else {
            context.anomaly("ABNORMAL_CE_HEADER", Some(transaction));
            return None;
        };
        let content = match form {
            Some(form) => Content::Form(form),
            None if !follows_files => Content::Nothing,
            None => {
                let name = file_name(is.content_disposition).filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| path(is.target, context.app));
                match FileBody::begin(&name, direction, Some(transaction), context) {
                    Some(mut file) => {
                        if let Some((start, end)) = range(is.content_range) {
                            file.set_range(start, end);
                        }
                        if told.is_some() {
                            file.keep_nothing();
                        }
                        Content::File(file)
                    }
                    None if told.is_none() => return None,
                    None => Content::Nothing,
                }
            }
        };
        let message = (context.files.enabled && dns::is_media_type(is.content_type)).then(Vec::new);
        let is_request = is.is_request;
        Some(Box::new(Body {
            decoding,
            content,
            transaction,
            is_lost: false,
            message,
            told,
            direction,
            is_request,
        }))
    }

    /// Whether more of it is wanted.
    pub(in crate::dpi) fn wants_more(&self) -> bool {
        let for_files = match &self.content {
            Content::File(file) => !file.is_full(),
            Content::Form(form) => form.wants_more(),
            Content::Nothing => false,
        };
        for_files || self.told.as_ref().is_some_and(|told| !told.is_full())
    }

    /// Tells signatures what they want of it once that is all there; true: they were told, and want nothing more.
    pub(in crate::dpi) fn tell_early(&mut self, context: &mut Context<'_>) -> bool {
        let Some(told) = self.told.take_if(|told| told.is_full() && !told.is_awaited) else { return false };
        match &mut self.content {
            Content::File(file) => file.tell(context),
            Content::Form(form) => form.tell(context),
            Content::Nothing => {}
        }
        told.tell(self.direction, self.transaction, context);
        true
    }

    /// Whether it is a form, whose files end before it does.
    pub(in crate::dpi) fn is_form(&self) -> bool {
        matches!(self.content, Content::Form(_))
    }

    /// Its next bytes. `beside` is what carries the files of a form.
    pub(in crate::dpi) fn bytes(&mut self, bytes: &[u8], beside: &[u8], context: &mut Context<'_>) {
        let Body { decoding, content, transaction, is_lost, message, told, is_request, .. } = self;
        let mut is_too_long = false;
        let read = &mut |bytes: &[u8]| {
            if let Some(kept) = message {
                is_too_long |= !keep(kept, bytes);
            }
            let mut wants_more = false;
            if let Some(told) = told {
                told.push(bytes);
                wants_more = !told.is_full();
            }
            match content {
                Content::File(file) => {
                    file.bytes(bytes);
                    wants_more || !file.is_full()
                }
                Content::Form(form) => {
                    form.bytes(bytes, beside, context);
                    wants_more || form.wants_more()
                }
                Content::Nothing => wants_more,
            }
        };
        if *is_lost {
            return;
        }
        let decoded = decoding.bytes(bytes, read);
        if is_too_long {
            *message = None;
            let event = if *is_request { "dns_request_too_long" } else { "dns_response_too_long" };
            context.anomaly(event, Some(*transaction));
        }
        if let Err(error) = decoded {
            let event = match error {
                _ if context.app == App::Http2 => "failed_decompression",
                DecodeError::Invalid => "GZIP_DECOMPRESSION_FAILED",
                DecodeError::Bomb => {
                    *is_lost = true;
                    if let Content::File(file) = content {
                        file.gap(0);
                    }
                    "COMPRESSION_BOMB"
                }
            };
            context.anomaly(event, Some(*transaction));
        }
    }

    /// Bytes behind its end, at which signatures alone look.
    pub(super) fn beyond(&mut self, bytes: &[u8]) {
        if self.decoding.is_plain()
            && let Some(told) = &mut self.told
        {
            told.push(bytes);
        }
    }

    /// So many of its next bytes were not seen.
    pub(in crate::dpi) fn gap(&mut self, missing: u64) {
        self.is_lost |= !self.decoding.is_plain();
        self.message = None;
        match &mut self.content {
            Content::File(file) => file.gap(missing),
            Content::Form(form) => form.gap(missing),
            Content::Nothing => {}
        }
    }

    /// It has ended; `is_whole`: where it should.
    pub(in crate::dpi) fn end(self, is_whole: bool, beside: &[u8], context: &mut Context<'_>) {
        let Body {
            mut decoding, mut content, is_lost, mut message, transaction, mut told, direction, ..
        } = self;
        if !is_lost {
            decoding.end(&mut |bytes| {
                if let Some(kept) = &mut message {
                    keep(kept, bytes);
                }
                if let Some(told) = &mut told {
                    told.push(bytes);
                }
                match &mut content {
                    Content::File(file) => file.bytes(bytes),
                    Content::Form(form) => form.bytes(bytes, beside, context),
                    Content::Nothing => {}
                }
                true
            });
        }
        if let Some(told) = told {
            told.tell(direction, transaction, context);
        }
        if let Some(message) = message.filter(|_| is_whole) {
            dns::carried(&message, transaction, context);
        }
        match content {
            Content::File(file) => file.end(is_whole, beside, context),
            Content::Form(form) => form.end(beside, context),
            Content::Nothing => {}
        }
    }
}

/// Adds bytes to a message; what is too long for one is not kept at all, and false.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let is_right = kept.len() + bytes.len() <= MESSAGE_BYTES_MAX;
    if is_right {
        kept.extend_from_slice(bytes);
    } else {
        kept.clear();
    }
    is_right
}

/// The path of a target, without host and query; normalised, but not in HTTP/2: as Suricata names files.
fn path(target: &[u8], app: App) -> Vec<u8> {
    if app == App::Http2 {
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
        return target.get(..end).unwrap_or(target).to_vec();
    }
    let mut path = Vec::with_capacity(target.len());
    Target::of(target, false).normalize_path(&mut path);
    path
}

/// First and last byte of `bytes 0-99/1234` (RFC 9110 section 14.4).
pub(super) fn range(range: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(range).ok()?.trim();
    let (span, _) = text.split_once(' ')?.1.trim().split_once('/')?;
    let (start, end) = span.split_once('-')?;
    Some((start.trim().parse().ok()?, end.trim().parse().ok()?))
}
