//! Lists in, exact files out.

use super::*;

fn of(list: &str) -> IndicatorRules {
    let mut indicators = Indicators::default();
    assert_eq!(indicators.add_list("list", list.as_bytes(), 1 << 20), []);
    IndicatorRules::new(&indicators)
}

fn all(list: &str) -> Fitted {
    of(list).fit(usize::MAX, u64::MAX)
}

fn text<'a>(fitted: &'a Fitted, name: &str) -> &'a str {
    let found = fitted.files.iter().find(|(file, _)| file == name);
    std::str::from_utf8(&found.unwrap_or_else(|| panic!("no {name}")).1).unwrap()
}

fn names(fitted: &Fitted) -> Vec<&str> {
    fitted.files.iter().map(|(name, _)| name.as_str()).collect()
}

fn numbers(rules: &str) -> Vec<u32> {
    let number = |line: &str| line.split("sid:").nth(1)?.split(';').next()?.parse().ok();
    rules.lines().filter_map(number).collect()
}

#[test]
fn every_type_is_looked_up_where_it_occurs_with_the_priority_of_its_severity() {
    let fitted = all("ip,198.51.100.7,critical\nip,2001:DB8::7,critical\ncidr,203.0.113.0/24,medium\n\
         domain,*.Evil.example,low\nja3,6989a334b2bffa6739773485d08d4fcd\n\
         ja4,t12d030600_0f9cd282b7f5_a44c6288192a,high\ncert_sha1,49F70E6E9A552E5FB3F4EB8E1F430C19F2B58190,critical\n");
    assert_eq!((fitted.indicators, fitted.left_out), (7, 0));
    assert_eq!(
        names(&fitted),
        [
            "weir-indicators-address-critical.lst",
            "weir-indicators-certificate-critical.lst",
            "weir-indicators-domain-low.lst",
            "weir-indicators-ja3-high.lst",
            "weir-indicators-ja4-high.lst",
            "weir-indicators.rules",
        ]
    );
    assert_eq!(text(&fitted, "weir-indicators-address-critical.lst"), "198.51.100.7\n2001:db8::7\n");
    let strings = [
        ("domain-low", ".evil.example"),
        ("ja3-high", "6989a334b2bffa6739773485d08d4fcd"),
        ("ja4-high", "t12d030600_0f9cd282b7f5_a44c6288192a"),
        ("certificate-critical", "49:f7:0e:6e:9a:55:2e:5f:b3:f4:eb:8e:1f:43:0c:19:f2:b5:81:90"),
    ];
    for (name, value) in strings {
        let list = text(&fitted, &format!("weir-indicators-{name}.lst"));
        assert_eq!(list, format!("{}\n", STANDARD.encode(value)));
    }
    let end = |class: &str, number| {
        format!(
            "threshold:type limit,track by_flow,count 1,seconds 86400; classtype:bad-unknown; {class}; sid:{number}; rev:1;)"
        )
    };
    let set = |name: &str, form: &str, more: &str| {
        format!("dataset:isset,weir-indicators-{name},type {form},load weir-indicators-{name}.lst{more};")
    };
    let address = set("address-critical", "ip", "");
    let certificate = set("certificate-critical", "string", "");
    let (ja3, ja4) = (set("ja3-high", "string", ""), set("ja4-high", "string", ""));
    let domain = set("domain-low", "string", ",match subdomain");
    let class = |priority: u8, word: &str, name: &str| {
        format!("priority:{priority}; metadata:indicator_type {word},indicator_severity {name}")
    };
    let (critical, high) = (class(1, "address", "critical"), |word: &str| class(1, word, "high"));
    let low = class(3, "domain", "low");
    let rules = [
        format!(
            "alert ip any any -> any any (msg:\"Indicator: connection to a listed address (critical)\"; flow:to_server; ip.dst; {address} {}",
            end(&critical, 1_990_093)
        ),
        format!(
            "alert tcp any any -> any any (msg:\"Indicator: connection of a listed address was answered (critical)\"; flow:established,to_client; tcp.flags:A,FPUCE; ip.dst; {address} {}",
            end(&critical, 1_990_103)
        ),
        format!(
            "alert udp any any -> any any (msg:\"Indicator: datagram of a listed address was answered (critical)\"; flow:established,to_client; ip.dst; {address} {}",
            end(&critical, 1_990_113)
        ),
        format!(
            "alert tls any any -> any any (msg:\"Indicator: TLS server with a listed certificate (critical)\"; tls.cert_fingerprint; {certificate} {}",
            end(&class(1, "certificate", "critical"), 1_990_083)
        ),
        format!(
            "alert tls any any -> any any (msg:\"Indicator: TLS client with a listed JA3 (high)\"; ja3.hash; {ja3} {}",
            end(&high("ja3"), 1_990_042)
        ),
        format!(
            "alert quic any any -> any any (msg:\"Indicator: QUIC client with a listed JA3 (high)\"; ja3.hash; {ja3} {}",
            end(&high("ja3"), 1_990_052)
        ),
        format!(
            "alert tls any any -> any any (msg:\"Indicator: TLS client with a listed JA4 (high)\"; ja4.hash; {ja4} {}",
            end(&high("ja4"), 1_990_062)
        ),
        format!(
            "alert quic any any -> any any (msg:\"Indicator: QUIC client with a listed JA4 (high)\"; ja4.hash; {ja4} {}",
            end(&high("ja4"), 1_990_072)
        ),
        format!(
            "alert ip any any -> [203.0.113.0/24] any (msg:\"Indicator: connection to a listed network (medium)\"; flow:to_server; {}",
            end(&class(2, "network", "medium"), 1_991_100)
        ),
        format!(
            "alert tcp any any -> [203.0.113.0/24] any (msg:\"Indicator: connection of a listed network was answered (medium)\"; flow:established,to_client; tcp.flags:A,FPUCE; {}",
            end(&class(2, "network", "medium"), 1_991_500)
        ),
        format!(
            "alert udp any any -> [203.0.113.0/24] any (msg:\"Indicator: datagram of a listed network was answered (medium)\"; flow:established,to_client; {}",
            end(&class(2, "network", "medium"), 1_991_900)
        ),
        format!(
            "alert dns any any -> any any (msg:\"Indicator: a listed domain was asked for (low)\"; dns.query; dotprefix; to_lowercase; {domain} {}",
            end(&low, 1_990_000)
        ),
        format!(
            "alert tls any any -> any any (msg:\"Indicator: TLS to a listed domain (low)\"; tls.sni; dotprefix; to_lowercase; {domain} {}",
            end(&low, 1_990_010)
        ),
        format!(
            "alert http any any -> any any (msg:\"Indicator: HTTP to a listed domain (low)\"; http.host; dotprefix; to_lowercase; {domain} {}",
            end(&low, 1_990_020)
        ),
        format!(
            "alert quic any any -> any any (msg:\"Indicator: QUIC to a listed domain (low)\"; quic.sni; dotprefix; to_lowercase; {domain} {}",
            end(&low, 1_990_030)
        ),
    ];
    let lines: Vec<&str> = text(&fitted, RULES_NAME).lines().skip(1).collect();
    assert_eq!(lines, rules);
}

#[test]
fn the_same_indicators_in_another_order_are_the_same_files_and_none_are_none() {
    let (a, b) = (
        "ip,192.0.2.9\ndomain,b.example\ndomain,a.example\n",
        "domain,a.example\nip,192.0.2.9\ndomain,b.example\n",
    );
    assert_eq!(all(a), all(b));
    assert_eq!(all(""), Fitted::default());
}

#[test]
fn what_there_is_no_room_for_is_left_out_whole_the_least_severe_first() {
    let rules = of(
        "domain,a.example,low\ndomain,b.example,low\nip,192.0.2.9,critical\nja3,6989a334b2bffa6739773485d08d4fcd,high\n",
    );
    let whole = rules.fit(4, u64::MAX);
    assert_eq!((whole.files.len(), whole.indicators, whole.left_out), (4, 4, 0));
    let fewer = rules.fit(3, u64::MAX);
    assert_eq!(
        names(&fewer),
        ["weir-indicators-address-critical.lst", "weir-indicators-ja3-high.lst", RULES_NAME]
    );
    assert_eq!((fewer.indicators, fewer.left_out), (2, 2));
    let bytes: usize = whole.files.iter().map(|(_, text)| text.len()).sum();
    assert_eq!(rules.fit(4, bytes as u64), whole);
    assert_eq!(rules.fit(4, bytes as u64 - 1), fewer);
    for (files, bytes) in [(0, u64::MAX), (1, u64::MAX), (4, 0), (4, 90)] {
        assert_eq!(rules.fit(files, bytes), Fitted { left_out: 4, ..Fitted::default() });
    }
}

#[test]
fn many_networks_are_several_rules_and_too_many_are_left_out_whole() {
    let networks = |count: u32| -> String {
        (0..count)
            .map(|n| format!("cidr,{}/28,high\n", std::net::Ipv4Addr::from(0x5000_0000 + n * 16)))
            .collect()
    };
    let fitted = all(&networks(10_000));
    assert_eq!((fitted.indicators, fitted.left_out), (10_000, 0));
    let rules = text(&fitted, RULES_NAME);
    assert!(rules.lines().all(|line| line.len() < 64 << 10));
    let listed =
        rules.lines().filter(|line| line.contains("to_server")).flat_map(|line| line.split('/')).count();
    assert_eq!(listed - numbers(rules).len() / 3, 10_000);
    let numbers = numbers(rules);
    assert_eq!(numbers.first(), Some(&1_991_200));
    assert!((9..=15).contains(&numbers.len()), "{numbers:?}");
    let too_many = all(&format!("{}ip,192.0.2.9,low\n", networks(300_000)));
    assert_eq!((too_many.indicators, too_many.left_out), (1, 300_000));
}

#[test]
fn no_two_rules_have_the_same_number_and_all_are_in_the_range() {
    let mut list = String::new();
    for severity in ["low", "medium", "high", "critical"] {
        let n = severity.len();
        list += &format!(
            "ip,192.0.2.{n},{severity}\ndomain,{severity}.example,{severity}\nja3,{n:032x},{severity}\n\
             ja4,t12d030600_{n:012x}_a44c6288192a,{severity}\ncert_sha1,{n:040x},{severity}\n"
        );
        // Nearly as many as there may be: a text of 48 KiB holds some 3,000.
        for at in 0..150_000u32 {
            let network = std::net::Ipv4Addr::from(((n as u32) << 28) + at * 16);
            list += &format!("cidr,{network}/28,{severity}\n");
        }
    }
    let fitted = all(&list);
    assert_eq!(fitted.left_out, 0);
    let mut numbers = numbers(text(&fitted, RULES_NAME));
    assert!(numbers.len() > 4 * (12 + 3 * 40));
    assert!(numbers.iter().all(|number| SIGNATURES.contains(number)));
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_large_set_says_how_large() {
    let list: String = (0..200_000).map(|n| format!("domain,host-{n}.example\n")).collect();
    let fitted = all(&list);
    let rules = text(&fitted, RULES_NAME);
    assert_eq!(rules.matches(".lst,memcap 55mb,hashsize 65536,match subdomain;").count(), 4, "{rules}");
}
