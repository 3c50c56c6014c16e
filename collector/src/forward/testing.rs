//! An alert to deliver, and a web server that answers as a test wants.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use weir_common::alert::{Alert, AlertFlow, EvidenceState, Route, Severity};
use weir_common::testing::RecordBuilder;

/// An alert of kind `intel.ip`.
pub(crate) fn alert() -> Alert {
    let record = RecordBuilder::tcp("10.0.0.5:40000", "198.51.100.7:80").build();
    let flow = AlertFlow {
        community_id: record.community_id,
        start: record.start,
        end: record.end,
        sensor: "edge-1".into(),
        ring_extents: None,
        ring_missed: 0,
        ring_expires: None,
    };
    Alert {
        id: "0123456789abcdef".into(),
        version: 1,
        time: record.start,
        end: record.end,
        kind: "intel.ip".into(),
        actor: Some("10.0.0.5".into()),
        targets: vec!["198.51.100.7".into()],
        target_count: 1,
        count: 1,
        severity: Severity::High,
        confidence: 0.9,
        route: Route::Ticket,
        reason: "Because.".into(),
        technique: vec!["T1071".into()],
        sensors: vec!["edge-1".into()],
        flows: vec![flow],
        evidence: EvidenceState::Pinned,
        signature: None,
    }
}

/// Serves one request per connection; gives the address and the requests. `answer` gets the number of the
/// request, from 0.
pub(crate) fn http_server(answer: impl Fn(usize) -> String + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            let Ok(mut connection) = connection else { return };
            let mut request = Vec::new();
            let mut byte = [0; 1024];
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length =
                    head.split("content-length: ").nth(1)?.lines().next()?.trim().parse::<usize>().ok()?;
                (body.len() >= length).then_some(())
            };
            while whole(&request).is_none() {
                match connection.read(&mut byte) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => request.extend_from_slice(&byte[..length]),
                }
            }
            let _ = connection.write_all(answer(number).as_bytes());
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
        }
    });
    (url, requests)
}
