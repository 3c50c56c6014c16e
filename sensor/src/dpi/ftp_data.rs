//! File Transfer Protocol: data connections (RFC 959), as the control connection announced them.
//!
//! In: both directions of a stream, and the command that it is for. Out: one event in EVE's `ftp_data` form, the
//! file. Is never recognised by its bytes: they are anybody's.

use super::buffers::{Number, Stage};
use super::file::FileBody;
use super::{Context, Dissector, First, Probe, Progress, Starts};
use weir_common::app::App;
use weir_common::json::Object;
use weir_common::metadata::Field;
use weir_common::net::Direction;

/// The dissector of one data connection.
#[derive(Debug, Default)]
pub(super) struct FtpData {
    command: Vec<u8>,
    filename: Vec<u8>,
    has_begun: bool,
    file: Option<Box<FileBody>>,
}

impl Dissector for FtpData {
    const APP: App = App::FtpData;

    const STARTS: Starts = Starts::stream(&[]);

    fn probe(_: &First<'_>) -> Probe {
        Probe::NotForUs
    }

    fn new() -> Self {
        FtpData::default()
    }

    /// A note is the command, a zero, the name of the file.
    fn expected(note: &[u8]) -> Option<Self> {
        let end = memchr::memchr(0, note)?;
        let (command, filename) = note.split_at_checked(end)?;
        let filename = filename.get(1..)?;
        Some(FtpData { command: command.to_vec(), filename: filename.to_vec(), ..FtpData::default() })
    }

    fn inspect(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Progress {
        self.begin(context);
        match &mut self.file {
            Some(file) => file.bytes(bytes),
            None if self.filename.is_empty() => {
                // A listing is told and not read.
                context.tell(Direction::Forward, None, |object| self.describe(object));
                self.over(context);
                return Progress::Done;
            }
            None => {}
        }
        Progress::Used(bytes.len())
    }

    fn gap(&mut self, missing: u64, context: &mut Context<'_>) -> Progress {
        self.begin(context);
        if let Some(file) = &mut self.file {
            file.gap(missing);
        }
        Progress::Used(0)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        if self.filename.is_empty() {
            return;
        }
        let mut beside = Vec::new();
        if context.events.is_some() {
            beside.extend_from_slice(b"\"ftp_data\":");
            self.describe(&mut Object::begin(&mut beside));
        }
        context.tell(Direction::Forward, None, |object| self.describe(object));
        if let Some(file) = self.file.take() {
            file.end(true, &beside, context);
        }
        if self.has_begun {
            self.over(context);
        }
    }
}

impl FtpData {
    fn begin(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&self.command));
        if !self.filename.is_empty() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&self.filename));
            self.file = FileBody::begin(&self.filename, context.direction, Some(0), context);
            let sender = self.sender();
            if let Some(file) = &mut self.file {
                file.tell_as(sender);
            }
        }
    }

    /// Who sends the file, as signatures have it: uploads are the client's, whichever end opened the connection.
    fn sender(&self) -> Direction {
        match &self.command[..] {
            b"STOR" | b"STOU" | b"APPE" => Direction::Forward,
            _ => Direction::Reverse,
        }
    }

    /// Tells signatures that the only transaction is over.
    fn over(&self, context: &mut Context<'_>) {
        let sender = self.sender();
        let command = match &self.command[..] {
            b"RETR" => 1,
            b"STOR" => 2,
            _ => 0,
        };
        context.put_number(sender, 0, Number::FtpdataCommand, command);
        context.reached(sender, 0, Stage::Body);
    }

    fn describe(&self, object: &mut Object<'_>) {
        if !self.filename.is_empty() {
            object.bytes("filename", &self.filename);
        }
        object.bytes("command", &self.command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpi::trial::Trial;

    #[test]
    fn a_file_is_told_with_its_command() {
        let trial = Trial::<FtpData>::new().announced(b"RETR\0a.txt").server(b"hel").server(b"lo").close();
        let learned = trial.learned();
        assert!(learned.contains("ftp_data {\"filename\":\"a.txt\",\"command\":\"RETR\"}\n"), "{learned}");
        assert!(learned.contains("\"md5\":\"5d41402abc4b2a76b9719d911017c592\""), "{learned}");
    }

    #[test]
    fn a_listing_is_told_and_not_read() {
        let trial = Trial::<FtpData>::new().announced(b"LIST\0").server(b"hel").close();
        assert_eq!(
            (trial.end, trial.learned()),
            (Some(Progress::Done), "command LIST\nftp_data {\"command\":\"LIST\"}\n".to_owned())
        );
    }

    #[test]
    fn a_hole_leaves_no_hash() {
        let trial = Trial::<FtpData>::new()
            .announced(b"STOR\0a")
            .client(b"hel")
            .gap(Direction::Forward, 5)
            .client(b"x")
            .close();
        assert!(
            trial.learned().contains("\"gaps\":true,\"state\":\"TRUNCATED\",\"stored\":false,\"size\":9"),
            "{}",
            trial.learned()
        );
    }
}
