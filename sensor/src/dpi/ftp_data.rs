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
    /// Who sent the first bytes.
    sender: Option<Direction>,
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
                context.tell(Direction::Forward, Some(0), |object| self.write(object));
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
            self.write(&mut Object::begin(&mut beside));
        }
        context.tell(Direction::Forward, Some(0), |object| self.write(object));
        if let Some(file) = self.file.take() {
            file.end(true, &beside, context);
        }
        self.over(context);
    }

    fn describe(&self, _direction: Direction, _transaction: u64, out: &mut Vec<u8>) {
        self.write(&mut Object::begin(out));
    }
}

impl FtpData {
    fn begin(&mut self, context: &mut Context<'_>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        self.sender = Some(context.direction);
        context.metadata.add(Field::Command, &String::from_utf8_lossy(&self.command));
        if !self.filename.is_empty() {
            context.metadata.add(Field::Object, &String::from_utf8_lossy(&self.filename));
            self.file = FileBody::begin(&self.filename, context.direction, Some(0), context);
        }
    }

    /// Tells signatures that the only transaction is over. That it is an upload is said by the client and a download
    /// by the server, whichever end opened the connection; the file is its sender's.
    fn over(&self, context: &mut Context<'_>) {
        let Some(sender) = self.sender else { return };
        let (teller, command) = match &self.command[..] {
            b"RETR" => (Direction::Reverse, 1),
            b"STOR" => (Direction::Forward, 2),
            _ => (sender, 0),
        };
        context.put_number(teller, 0, Number::FtpdataCommand, command);
        context.reached(teller, 0, Stage::Body);
        if sender != teller {
            context.reached(sender, 0, Stage::Body);
        }
    }

    fn write(&self, object: &mut Object<'_>) {
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
    fn signatures_are_told_the_file_by_its_sender_and_the_command_by_who_gave_it() {
        // The server opens the connection: it is the initiator, and downloads are sent by it.
        let mut trial = Trial::<FtpData>::new().announced(b"RETR\0a.txt").client(b"hello").close();
        expect_test::expect![[r#"
            client 0 file.name a.txt
            client 0 file.magic ASCII text, with no line terminators
            client 0 file.data hello
            client 0 file md5 5d41402abc4b2a76b9719d911017c592
            client 0 file sha1 aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d
            client 0 file sha256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824
            client 0 FileSizeMin 5
            client 0 FileSize 5
            server 0 FtpdataCommand 1
        "#]]
        .assert_eq(&trial.told());
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
