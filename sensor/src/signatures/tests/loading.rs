//! Loading: which rules run, which are refused, which can never fire, and which are for another version.

use super::*;

/// Compiles rules and says what became of each.
fn built(rules: &[&str]) -> Built {
    let file = RuleReader::new(Variables::default()).read("x", rules.join("\n").as_bytes());
    assert!(file.problems.is_empty(), "{:?}", file.problems);
    Rules::build(file.rules, &mut RuleNames::default(), &Surroundings::default(), None)
}

#[test]
fn a_rule_that_asks_for_what_nothing_tells_loads_and_cannot_fire() {
    let silent = [
        "decode-event:ipv4.opt_unknown;",
        "stream-event:reassembly_no_segment;",
        "engine-event:stream.wrong_thread; content:\"x\"; dsize:1;",
        "app-layer-event:applayer_wrong_direction_first_data;",
        "app-layer-event:tls.no_such_event;",
        "app-layer-event:http.no_such_event; http.uri; content:\"x\";",
        "app-layer-event:file.malformed_data;",
    ];
    for options in silent {
        let built = built(&[&format!("alert tcp any any -> any any ({options} sid:7;)")]);
        assert!(built.problems.is_empty() && built.rules.is_empty(), "{options} {:?}", built.problems);
        let [problem] = &built.silent[..] else { panic!("{options}") };
        let (reason, place) = (&problem.reason, problem.place);
        assert!(reason.starts_with("sid 7 loads and cannot fire: it asks for the "), "{reason}");
        assert!(reason.ends_with(", which nothing here tells") && place.column > 32, "{problem}");
    }
    let told = [
        "decode-event:ipv4.trunc_pkt;",
        "stream-event:reassembly_seq_gap;",
        "app-layer-event:tls.invalid_handshake_message;",
        "app-layer-event:http.request_line_invalid;",
    ];
    for options in told {
        let built = built(&[&format!("alert tcp any any -> any any ({options} sid:7;)")]);
        assert_eq!((built.rules.len(), &built.problems, &built.silent), (1, &vec![], &vec![]), "{options}");
    }
}

#[test]
fn a_rule_for_another_version_is_set_aside_whatever_else_it_says() {
    let built = built(&[
        "alert http any any => any any (requires:version >= 10; sid:1;)",
        "alert nothing any any -> any any (nosuch:1; requires:version >= 10; sid:2;)",
        "alert tcp any any -> any any (requires:keyword nosuch; sid:3;)",
        "alert tcp any any -> any any (requires:keyword luaxform; sid:4;)",
        "alert tcp any any -> any any (requires:keyword flowvar; sid:5;)",
        "alert tcp any any -> any any (requires:feature geoip; sid:6;)",
        "alert tcp any any -> any any (requires:version; sid:7;)",
        "alert tcp any any -> any any (requires:version >= 8, feature ja3; sid:8;)",
    ]);
    assert_eq!((built.set_aside.len(), built.problems.len(), built.rules.len()), (6, 1, 1), "{built:?}");
    assert!(built.set_aside.iter().all(|problem| problem.reason.contains("it requires `")));
}

#[test]
fn every_keyword_that_rules_may_use_meets_requires() {
    // Frames are values of `frame`, and what stands in parentheses is asked for by other keywords.
    let buffers = Buffer::ALL.iter().map(|buffer| buffer.keyword());
    let named = buffers.filter(|name| !name.contains([':', '(', ' ']));
    let others = [
        "msg",
        "sid",
        "classtype",
        "target",
        "content",
        "nocase",
        "distance",
        "depth",
        "startswith",
        "fast_pattern",
        "pcre",
        "isdataat",
        "byte_test",
        "byte_jump",
        "byte_extract",
        "byte_math",
        "bsize",
        "dsize",
        "urilen",
        "absent",
        "base64_decode",
        "base64_data",
        "pkt_data",
        "rawbytes",
        "http_uri",
        "http_header",
        "uricontent",
        "frame",
        "dotprefix",
        "to_md5",
        "url_decode",
        "xor",
        "pcrexform",
        "ttl",
        "flags",
        "itype",
        "tcp.mss",
        "vlan.id",
        "ip_proto",
        "sameip",
        "ipopts",
        "flow",
        "flow.age",
        "flowbits",
        "flowint",
        "xbits",
        "hostbits",
        "noalert",
        "threshold",
        "detection_filter",
        "dataset",
        "datarep",
        "iprep",
        "geoip",
        "requires",
        "tag",
        "prefilter",
        "decode-event",
        "stream-event",
        "engine-event",
        "app-layer-event",
        "app-layer-protocol",
        "stream_size",
        "rpc",
        "ip.src",
        "ipv4.hdr",
        "tcp.hdr",
        "tls.version",
        "ssl_version",
        "ssl_state",
        "tls_cert_expired",
        "tls.cert_chain_len",
        "tls.subject",
        "ssh.protoversion",
        "ike.chosen_sa_attribute",
        "krb5_msg_type",
        "mqtt.flags",
        "modbus",
        "dnp3_func",
        "dnp3_obj",
        "dcerpc.iface",
        "dcerpc.opnum",
        "smb.version",
        "snmp.version",
        "enip_command",
        "nfs_procedure",
        "filemagic",
        "filesize",
        "fileext",
        "filename",
        "filestore",
        "filemd5",
        "dns.opcode",
        "ftpbounce",
        "rfb.sectype",
        "dhcp.leasetime",
        "snmp.version",
        "modbus",
        "websocket.mask",
    ];
    let mut missing = Vec::new();
    for name in named.chain(others) {
        let built = built(&[&format!("alert tcp any any -> any any (requires:keyword {name}; sid:1;)")]);
        if built.rules.len() != 1 {
            missing.push(name);
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn what_stores_and_what_changes_the_program_is_refused_with_its_reason() {
    let built = built(&[
        "config tcp:pre_flow any any <> any 666 (config:tracking disable, type flow, scope packet; sid:1;)",
        "alert tcp any any -> any any (ndpi-protocol:TLS; sid:2;)",
        "config dns any any -> any any (config:logging disable; sid:3;)",
    ]);
    let reasons: Vec<&str> = built.problems.iter().map(|problem| problem.reason.as_str()).collect();
    assert!(reasons[0].starts_with("cannot run `config:tracking disable"), "{reasons:?}");
    assert!(reasons[1].starts_with("cannot run `ndpi-protocol`: applications"), "{reasons:?}");
    assert!(reasons[2].starts_with("cannot run `config:logging disable`: only"), "{reasons:?}");
}

#[test]
fn what_no_flow_is_here_loads_and_cannot_fire() {
    for side in ["toserver", "toclient", "either", "both"] {
        let built = built(&[&format!("alert tcp any any -> any any (flow.elephant:{side}; sid:1;)")]);
        assert_eq!((built.rules.len(), built.problems.len(), built.silent.len()), (0, 0, 1), "{built:?}");
        assert!(built.silent[0].reason.contains("rates of flows are not measured"), "{built:?}");
    }
    let built = built(&["alert tcp any any -> any any (flow.elephant:up; sid:1;)"]);
    assert_eq!(built.problems.len(), 1);
}

#[test]
fn what_asks_for_more_than_alerts_alerts_and_says_what_is_not_done() {
    let built = built(&[
        "alert tls any any -> any any (tls.sni; content:\"x\"; tls.store; sid:1;)",
        "alert tcp any any -> any any (content:\"abc\"; replace:\"def\"; sid:2;)",
        "alert tcp any any -> any any (nfq_set_mark:0x8/0xff; sid:3;)",
    ]);
    assert_eq!((built.rules.len(), built.problems.len()), (3, 0), "{built:?}");
    let said: Vec<String> = built.warnings.iter().map(ToString::to_string).collect();
    assert!(said[0].contains(":1:53: `tls.store`: certificates are not stored"), "{said:?}");
    assert!(said[1].contains(":2:46: `replace`: traffic is not changed"), "{said:?}");
    assert!(said[2].contains(":3:31: `nfq_set_mark`: packets are not marked"), "{said:?}");
}
