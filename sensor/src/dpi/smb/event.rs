//! One transaction of SMB as EVE describes it.

use super::names;
use super::state::{Command, Create, Handle, Kind, SessionSetup, State, Status, Transaction};
use crate::dpi::wire::hex;
use weir_common::json::Object;

/// The name of a command, where it has one.
pub(super) fn command_name(command: Command) -> Option<&'static str> {
    match command {
        Command::One(command) => names::command1(command),
        Command::Two(command) => names::command2(command),
    }
}

/// The name of a state, or its number.
pub(super) fn status_name(status: Status) -> String {
    match status {
        Status::Nt(status) => names::status(status).map_or_else(|| status.to_string(), str::to_string),
        Status::Dos(class, code) => names::dos_error(class, code),
    }
}

/// Writes a transaction's members.
pub(super) fn write(state: &State, transaction: &Transaction, object: &mut Object<'_>) {
    object.number("id", transaction.id);
    object.text("dialect", state.dialect.as_deref().unwrap_or("unknown"));
    match (command_name(transaction.command), transaction.command) {
        (Some(name), _) => object.text("command", name),
        (None, Command::One(command)) => object.display("command", command),
        (None, Command::Two(command)) => object.display("command", command),
    };
    if let Some(status) = transaction.status {
        object.text("status", &status_name(status));
        match status {
            Status::Nt(status) => object.display("status_code", format_args!("0x{status:x}")),
            Status::Dos(_, code) => object.display("status_code", format_args!("0x{code:04x}")),
        };
    }
    object.number("session_id", transaction.session).number("tree_id", transaction.tree);
    let is_one = matches!(transaction.command, Command::One(_));
    let fuid = |handle: Option<&Handle>| match handle {
        Some([low, high, ..]) if is_one => hex(&[*high, *low], ""),
        Some(handle) => names::guid(handle),
        None => String::new(),
    };
    match &transaction.kind {
        Kind::Other => {}
        Kind::Negotiate { dialects, client, server } => {
            object.texts("client_dialects", dialects);
            object.text_if("client_guid", client.as_ref().map(names::guid).as_deref());
            object.text("server_guid", &server.as_ref().map(names::guid).unwrap_or_default());
            for (key, bytes) in [("max_read_size", state.max_read), ("max_write_size", state.max_write)] {
                if bytes > 0 {
                    object.number(key, bytes);
                }
            }
        }
        Kind::SessionSetup(setup) => session_setup(setup, object),
        Kind::TreeConnect { name, is_pipe, share_type, services } => {
            object.text(if *is_pipe { "named_pipe" } else { "share" }, name);
            if is_one {
                let mut service = object.object("service");
                service.text_if("request", services[0].as_deref());
                service.text_if("response", services[1].as_deref());
            } else {
                let name = ["FILE", "PIPE", "PRINT"].get(usize::from(share_type.wrapping_sub(1)));
                object.text("share_type", name.unwrap_or(&"UNKNOWN"));
            }
        }
        Kind::Create(create) => {
            write_create(create, object);
            object.text("fuid", &fuid(create.handle.as_ref()));
        }
        Kind::File { handle, name, share, .. } => {
            object.text("filename", name).text("share", share).text("fuid", &fuid(Some(handle)));
        }
        Kind::Rename { from, to, handle } => {
            if !is_one {
                object
                    .object("set_info")
                    .text("class", "FILE_INFO")
                    .text("info_level", "SMB2_FILE_RENAME_INFO");
            }
            object.object("rename").text("from", from).text("to", to);
            object.text("fuid", &fuid(handle.as_ref()));
        }
        Kind::Disposition { name, handle, delete, function, level } => {
            object.text("filename", if name.is_empty() { "<share_root>" } else { name });
            object.text("access", if *delete { "delete on close" } else { "normal" });
            match function {
                8 => drop(object.text("subcmd", "SET_FILE_INFO")),
                6 => drop(object.text("subcmd", "SET_PATH_INFO")),
                _ => {}
            }
            if *level == 1013 {
                object.text("level_of_interest", "Set Disposition Information");
            }
            object.text("fuid", &fuid(handle.as_ref()));
        }
        Kind::Control(function) => drop(object.text("function", &names::function(*function))),
        Kind::Rpc(call) => call.write(&state.bound, true, &mut object.object("dcerpc")),
    }
}

fn session_setup(setup: &SessionSetup, object: &mut Object<'_>) {
    if let Some(ntlm) = &setup.logon.ntlm {
        let mut member = object.object("ntlmssp");
        member.text("domain", &ntlm.domain).text("user", &ntlm.user).text("host", &ntlm.host);
        if let Some(version) = ntlm.version {
            member.display("version", version);
        }
    }
    if let Some(ticket) = &setup.logon.ticket {
        object.object("kerberos").text("realm", &ticket.realm).texts("snames", &ticket.service);
    }
    for (key, end) in [("request", &setup.request), ("response", &setup.response)] {
        if let Some([system, manager]) = end {
            object.object(key).text("native_os", system).text("native_lm", manager);
        }
    }
}

fn write_create(create: &Create, object: &mut Object<'_>) {
    match (&*create.name, create.is_directory) {
        ("", _) => object.text("filename", "<share_root>"),
        (name, true) => object.text("directory", name),
        (name, false) => object.text("filename", name),
    };
    object.text("disposition", names::disposition(create.disposition));
    object.text("access", if create.delete_on_close { "delete on close" } else { "normal" });
    for (key, time) in ["created", "accessed", "modified", "changed"].into_iter().zip(create.times) {
        object.number(key, time);
    }
    object.number("size", create.size);
}
