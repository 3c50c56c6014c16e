//! The body of a message as the file, or files, in it.
//!
//! In: the head that describes it, its bytes as they were sent (chunks already put together), what is missing.
//! Out: [`FileBody`]s, their content codings taken off. Holds only what decoders and forms hold.

use super::decode::{DecodeError, Decoding};
use super::head::{Head, Part};
use super::multipart::{Multipart, file_name};
use crate::dpi::{Context, FileBody, dns};
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
}

/// Longest DNS message; of a longer one nothing is told.
const MESSAGE_BYTES_MAX: usize = 65535;

#[derive(Debug)]
enum Content {
    File(Box<FileBody>),
    Form(Multipart),
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
        if !context.files.enabled {
            return None;
        }
        let Some(decoding) = Decoding::new(is.content_encoding, &context.files.decoders) else {
            context.anomaly("ABNORMAL_CE_HEADER", Some(transaction));
            return None;
        };
        let form = is.is_post.then(|| Multipart::new(is.content_type, direction, transaction)).flatten();
        let content = match form {
            Some(form) => Content::Form(form),
            None => {
                let name = file_name(is.content_disposition).filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| path(is.target).to_vec());
                let mut file = FileBody::begin(&name, direction, Some(transaction), context)?;
                if let Some((start, end)) = range(is.content_range) {
                    file.set_range(start, end);
                }
                Content::File(file)
            }
        };
        let message = dns::is_media_type(is.content_type).then(Vec::new);
        Some(Box::new(Body { decoding, content, transaction, is_lost: false, message }))
    }

    /// Whether more of it is wanted.
    pub(in crate::dpi) fn wants_more(&self) -> bool {
        match &self.content {
            Content::File(file) => !file.is_full(),
            Content::Form(form) => form.wants_more(),
        }
    }

    /// Whether it is a form, whose files end before it does.
    pub(in crate::dpi) fn is_form(&self) -> bool {
        matches!(self.content, Content::Form(_))
    }

    /// Its next bytes. `beside` is what carries the files of a form.
    pub(in crate::dpi) fn bytes(&mut self, bytes: &[u8], beside: &[u8], context: &mut Context<'_>) {
        let Body { decoding, content, transaction, is_lost, message } = self;
        let read = &mut |bytes: &[u8]| {
            if let Some(kept) = message {
                keep(kept, bytes);
            }
            match content {
                Content::File(file) => {
                    file.bytes(bytes);
                    !file.is_full()
                }
                Content::Form(form) => {
                    form.bytes(bytes, beside, context);
                    form.wants_more()
                }
            }
        };
        if *is_lost {
            return;
        }
        if let Err(error) = decoding.bytes(bytes, read) {
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

    /// So many of its next bytes were not seen.
    pub(in crate::dpi) fn gap(&mut self, missing: u64) {
        self.is_lost |= !self.decoding.is_plain();
        self.message = None;
        match &mut self.content {
            Content::File(file) => file.gap(missing),
            Content::Form(form) => form.gap(missing),
        }
    }

    /// It has ended; `is_whole`: where it should.
    pub(in crate::dpi) fn end(self, is_whole: bool, beside: &[u8], context: &mut Context<'_>) {
        let Body { mut decoding, mut content, is_lost, mut message, transaction } = self;
        if !is_lost {
            decoding.end(&mut |bytes| {
                if let Some(kept) = &mut message {
                    keep(kept, bytes);
                }
                match &mut content {
                    Content::File(file) => file.bytes(bytes),
                    Content::Form(form) => form.bytes(bytes, beside, context),
                }
                true
            });
        }
        if let Some(message) = message.filter(|_| is_whole) {
            dns::carried(&message, transaction, context);
        }
        match content {
            Content::File(file) => file.end(is_whole, beside, context),
            Content::Form(form) => form.end(beside, context),
        }
    }
}

/// Adds bytes to a message; what is too long for one is not kept at all.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    if kept.len() + bytes.len() <= MESSAGE_BYTES_MAX {
        kept.extend_from_slice(bytes);
    } else {
        kept.clear();
    }
}

/// The path of a target, without host and query.
fn path(target: &[u8]) -> &[u8] {
    let path = match memchr::memmem::find(target, b"://") {
        Some(at) if at < 8 => {
            let rest = target.get(at + 3..).unwrap_or_default();
            memchr::memchr(b'/', rest).and_then(|slash| rest.get(slash..)).unwrap_or(b"/")
        }
        _ => target,
    };
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    path.get(..end).unwrap_or(path)
}

/// First and last byte of `bytes 0-99/1234` (RFC 9110 section 14.4).
pub(super) fn range(range: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(range).ok()?.trim();
    let (span, _) = text.split_once(' ')?.1.trim().split_once('/')?;
    let (start, end) = span.split_once('-')?;
    Some((start.trim().parse().ok()?, end.trim().parse().ok()?))
}
