//! Text as a pairing token: as it is, and with the checksum made right, so that what lies behind it is reached.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use weir_common::enrolment::Token;

fn read(text: &str) {
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.to_string().parse(), Ok(token), "what was written is what is read");
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    read(text);
    let head = format!("weir1/{text}");
    let mut blob = vec![7; 32];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.as_bytes());
    hasher.update(&blob);
    blob.extend(hasher.finalize().to_be_bytes());
    read(&format!("{head}/{}", URL_SAFE_NO_PAD.encode(blob)));
});
