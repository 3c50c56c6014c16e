//! One application fragment of DNP3 as EVE describes it.
//!
//! In: a fragment. Out: a JSON object with Suricata's field names. Points beyond [`POINTS_MAX`] are left out.

use super::objects::{Header, Value, Visitor, walk};
use super::{Fragment, INDICATIONS, UNSOLICITED_RESPONSE};
use crate::dpi::bytes::escaped;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_common::json::{List, Object};

/// Most points written of a fragment.
const POINTS_MAX: usize = 2048;
/// Most bytes written of a text.
const TEXT_BYTES_MAX: usize = 4096;

/// Fills the object.
pub(super) fn write(fragment: &Fragment<'_>, is_complete: bool, object: &mut Object<'_>) {
    let kind = match (fragment.indications, fragment.function) {
        (None, _) => "request",
        (Some(_), UNSOLICITED_RESPONSE) => "unsolicited_response",
        (Some(_), _) => "response",
    };
    object.text("type", kind);
    let control = fragment.link.control;
    {
        let mut link = object.object("control");
        for (name, bit) in [("dir", 0x80), ("pri", 0x40), ("fcb", 0x20), ("fcv", 0x10)] {
            link.bool(name, control & bit != 0);
        }
        link.number("function_code", control & 0x0f);
    }
    object.number("src", fragment.link.source).number("dst", fragment.link.destination);
    {
        let mut application = object.object("application");
        {
            let mut control = application.object("control");
            for (name, bit) in [("fir", 0x80), ("fin", 0x40), ("con", 0x20), ("uns", 0x10)] {
                control.bool(name, fragment.control & bit != 0);
            }
            control.number("sequence", fragment.control & 0x0f);
        }
        application.number("function_code", fragment.function);
        if fragment.function != 0 && !fragment.objects.is_empty() {
            write_objects(fragment, &mut application.list("objects"));
        }
        application.bool("complete", is_complete);
    }
    if let Some(indications) = fragment.indications {
        let mut iin = object.object("iin");
        if indications != 0 {
            let set = INDICATIONS.iter().filter(|(_, bit)| indications & bit != 0);
            iin.texts("indicators", set.map(|(name, _)| name));
        }
    }
}

fn write_objects(fragment: &Fragment<'_>, list: &mut List<'_>) {
    let mut writer = Writer::default();
    let _ = walk(fragment, &mut writer);
    writer.end_object();
    for object in writer.objects {
        list.object().members(&object);
    }
}

/// Writes objects as the members of JSON objects, because the walk meets them one after the other.
#[derive(Default)]
struct Writer {
    objects: Vec<Vec<u8>>,
    /// The points of the object that is being walked over, as JSON without the brackets.
    points: Vec<u8>,
    has_point: bool,
    count: usize,
}

impl Writer {
    fn end_object(&mut self) {
        self.end_point();
        if let Some(object) = self.objects.last_mut()
            && !self.points.is_empty()
        {
            object.extend_from_slice(b",\"points\":[");
            object.append(&mut self.points);
            object.push(b']');
        }
        self.points.clear();
    }

    fn end_point(&mut self) {
        if std::mem::take(&mut self.has_point) {
            self.points.push(b'}');
        }
    }
}

/// The members that `write` adds, without the braces around them.
fn members(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    let from = out.len();
    write(&mut Object::begin(out));
    if from < out.len() {
        out.remove(from);
        out.pop();
    }
}

impl Visitor for Writer {
    fn object(&mut self, header: Header) {
        self.end_object();
        let mut object = Vec::with_capacity(128);
        members(&mut object, |object| {
            object.number("group", header.group).number("variation", header.variation);
            object.number("qualifier", header.qualifier).number("prefix_code", header.prefix_code());
            object.number("range_code", header.range_code()).number("start", header.start);
            object.number("stop", header.stop).number("count", header.count);
        });
        self.objects.push(object);
    }

    fn point(&mut self, prefix: u32, index: u32, size: Option<u32>) {
        self.end_point();
        self.count += 1;
        if self.count > POINTS_MAX {
            return;
        }
        if !self.points.is_empty() {
            self.points.push(b',');
        }
        self.points.push(b'{');
        self.has_point = true;
        members(&mut self.points, |point| {
            point.number("prefix", prefix).number("index", index);
            if let Some(size) = size {
                point.number("size", size);
            }
        });
    }

    fn field(&mut self, name: &'static str, value: Value<'_>) {
        if !self.has_point {
            return;
        }
        self.points.push(b',');
        members(&mut self.points, |point| {
            match value {
                Value::Unsigned(value) => point.number(name, value),
                Value::Signed(value) => point.number(name, value),
                Value::Float(value) => point.float(name, value),
                Value::Text(value) => point.text(name, &escaped(value, TEXT_BYTES_MAX)),
                Value::Bytes(value) => {
                    let value = value.get(..TEXT_BYTES_MAX).unwrap_or(value);
                    point.text(name, &STANDARD.encode(value))
                }
            };
        });
    }
}
