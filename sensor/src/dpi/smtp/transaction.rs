//! One mail transaction: what its envelope says, and how it is told.
//!
//! In: the envelope's parts and the message, from the session that reads them. Out: EVE's event with the files of the
//! message behind it, and the envelope for signatures.

use crate::dpi::buffers::{Buffer, Stage};
use crate::dpi::mail::Mail;
use crate::dpi::{Context, Event};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::net::Direction;

/// One mail transaction, or what came before it.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) id: u64,
    pub(super) helo: Option<Vec<u8>>,
    pub(super) from: Option<Vec<u8>>,
    pub(super) to: Vec<Vec<u8>>,
    pub(super) mail: Option<Box<Mail>>,
    pub(super) is_rejected: bool,
    /// DATA was sent in it.
    pub(super) has_data: bool,
    /// Signatures were told its envelope, and that nothing more will come of it.
    pub(super) is_head_told: bool,
    pub(super) is_over: bool,
}

impl Transaction {
    /// Writes the envelope.
    pub(super) fn describe(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        if let Some(helo) = &self.helo {
            object.bytes("helo", helo);
        }
        if let Some(from) = &self.from {
            object.bytes("mail_from", from);
        }
        if !self.to.is_empty() {
            object.texts("rcpt_to", &self.to);
        }
    }

    /// Tells signatures the envelope, once.
    pub(super) fn tell_head(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_head_told, true) || context.wanted.is_none() {
            return;
        }
        let (client, id) = (Direction::Forward, self.id);
        if let Some(helo) = &self.helo {
            context.put(client, id, Buffer::SmtpHelo, helo);
        }
        if let Some(from) = &self.from {
            context.put(client, id, Buffer::SmtpMailFrom, from);
        }
        for to in &self.to {
            context.put(client, id, Buffer::SmtpRcptTo, to);
        }
        context.reached(client, id, Stage::Head);
    }

    /// Tells signatures that nothing more will come of it.
    pub(super) fn over(&mut self, context: &mut Context<'_>) {
        self.tell_head(context);
        if !std::mem::replace(&mut self.is_over, true) {
            context.reached(Direction::Forward, self.id, Stage::Body);
        }
    }

    pub(super) fn tell(&mut self, context: &mut Context<'_>) {
        let mut envelope = Vec::new();
        if context.events.is_some() {
            self.describe(&mut envelope);
        }
        if let Some(events) = context.events.as_deref_mut() {
            let mut beside = Vec::new();
            if let Some(mail) = &self.mail {
                beside.extend_from_slice(b"\"email\":");
                mail.write(&mut Object::begin(&mut beside));
            }
            let event = Event::new(App::Smtp, context.time, Direction::Forward, envelope.clone());
            events.push(Event { transaction: Some(self.id), beside, ..event });
        }
        if let Some(mail) = &mut self.mail {
            let beside = if envelope.is_empty() { envelope } else { [b"\"smtp\":", &envelope[..]].concat() };
            mail.tell_files(&beside, context);
        }
        self.over(context);
    }
}
