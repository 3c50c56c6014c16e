//! Each keyword with what it holds in and what not, from both sides of its borders; `reference.rs` compares with
//! trying everything.

mod reference;

use super::fuzzing::read;
use super::*;

/// A list of matches from the text of options, and its transforms.
fn compile(options: &str) -> Result<(MatchList, Transforms), Refused> {
    let (mut list, mut names, mut transforms) =
        (MatchList::default(), Names::default(), Transforms::default());
    for option in read(options.as_bytes()) {
        let taken = list.option(&option, &mut names).or_else(|| transforms.option(&option));
        taken.unwrap_or_else(|| panic!("`{}` is nobody's", option.name))?;
    }
    list.finish()?;
    list.check_transforms(&transforms)?;
    Ok((list, transforms))
}

/// `view` says everything but the bytes.
fn holds_in(options: &str, view: View<'_>, bytes: &[u8]) -> bool {
    let (list, transforms) = compile(options).unwrap_or_else(|error| panic!("{options}: {error:?}"));
    let (mut scratch, mut out) = (Scratch::default(), Vec::new());
    let transformed = transforms.apply(bytes, &mut out, &mut scratch);
    let view = View { bytes: transformed.bytes, has_failed: transformed.has_failed, ..view };
    scratch.begin();
    let first = list.matches(&view, &mut scratch);
    scratch.begin();
    assert_eq!(first, list.matches(&view, &mut scratch), "{options}: what is reused matters");
    first
}

fn holds(options: &str, bytes: &[u8]) -> bool {
    holds_in(options, View::of(b""), bytes)
}

/// Options, and bytes in which they hold or do not.
fn table(rows: &[(&str, &[u8], bool)]) {
    for (options, bytes, want) in rows {
        assert_eq!(holds(options, bytes), *want, "{options} in {:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_content_lies_where_its_modifiers_say_and_nowhere_else() {
    table(&[
        (r#"content:"bc";"#, b"abcd", true),
        (r#"content:"bd";"#, b"abcd", false),
        (r#"content:"BC";"#, b"abcd", false),
        (r#"content:"BC"; nocase;"#, b"abcd", true),
        (r#"content:"bc"; nocase;"#, b"aBCd", true),
        (r#"content:"|00|Q1"; nocase;"#, b"x\0q1", true),
        (r#"content:!"bc";"#, b"abcd", false),
        (r#"content:!"bd";"#, b"abcd", true),
        (r#"content:"bc"; offset:1;"#, b"abcd", true),
        (r#"content:"bc"; offset:0x1;"#, b"abcd", true),
        (r#"content:"bc"; offset:2;"#, b"abcd", false),
        (r#"content:"bc"; offset:9;"#, b"abcd", false),
        (r#"content:"bc"; depth:3;"#, b"abcd", true),
        (r#"content:"bc"; depth:2;"#, b"abcd", false),
        (r#"content:"bc"; depth:9;"#, b"abcd", true),
        (r#"content:"bc"; offset:1; depth:2;"#, b"abcd", true),
        (r#"content:"bc"; depth:2; offset:1;"#, b"aabcd", false),
        (r#"content:!"bc"; offset:2;"#, b"abcd", true),
        (r#"content:!"bc"; offset:9;"#, b"abcd", true),
        (r#"content:!"bc"; depth:2;"#, b"abcd", true),
        (r#"content:!"bc"; depth:3;"#, b"abcd", false),
        (r#"content:"ab"; startswith;"#, b"abcd", true),
        (r#"content:"bc"; startswith;"#, b"abcd", false),
        (r#"content:"AB"; nocase; startswith;"#, b"abcd", true),
        (r#"content:"cd"; endswith;"#, b"abcd", true),
        (r#"content:"cd"; endswith;"#, b"cdcde", false),
        (r#"content:"cd"; endswith;"#, b"d", false),
        (r#"content:"cd"; isdataat:!1,relative;"#, b"cdcd", true),
        (r#"content:"cd"; isdataat:!1,relative;"#, b"cdc", false),
        (r#"content:"cd"; depth:3; endswith;"#, b"acd", true),
        (r#"content:"cd"; depth:3; endswith;"#, b"acdcd", false),
        (r#"content:"cd"; offset:2; endswith;"#, b"abcd", true),
        (r#"content:"cd"; offset:3; endswith;"#, b"abcd", false),
        (r#"content:"abcd"; startswith; endswith;"#, b"abcd", true),
        (r#"content:"abcd"; startswith; endswith;"#, b"abcde", false),
        (r#"content:!"cd"; endswith;"#, b"abcd", false),
        (r#"content:!"cd"; endswith;"#, b"abce", true),
        // Suricata looks at the first occurrence alone.
        (r#"content:!"cd"; endswith;"#, b"cdcd", true),
        (r#"content:"x"; depth:9;"#, b"", false),
        (r#"content:!"x";"#, b"", true),
        (r#"content:"x"; rawbytes; fast_pattern;"#, b"x", true),
    ]);
}

#[test]
fn a_relative_content_lies_where_the_match_before_it_says() {
    table(&[
        (r#"content:"a"; content:"c"; distance:1;"#, b"abcd", true),
        (r#"content:"a"; content:"c"; distance:2;"#, b"abcd", false),
        (r#"content:"c"; content:"a"; distance:-3;"#, b"abcd", true),
        (r#"content:"c"; content:"a"; distance:-2;"#, b"abcd", false),
        (r#"content:"a"; content:"a"; distance:-9;"#, b"abcd", true),
        (r#"content:"a"; content:"c"; within:2;"#, b"abcd", true),
        (r#"content:"a"; content:"c"; within:1;"#, b"abcd", false),
        (r#"content:"a"; content:"c"; distance:1; within:1;"#, b"abcd", true),
        (r#"content:"a"; content:"d"; within:1; distance:1;"#, b"abcd", false),
        (r#"content:"a"; content:!"c"; within:1;"#, b"abcd", true),
        (r#"content:"a"; content:!"c"; within:2;"#, b"abcd", false),
        (r#"content:"a"; content:!"b"; distance:1;"#, b"abcd", true),
        (r#"content:"d"; content:!"b"; distance:1;"#, b"abcd", true),
        (r#"content:"d"; content:"b"; distance:1;"#, b"abcd", false),
        (r#"content:"c"; content:"a";"#, b"abcd", true),
        // Without anything before it, the beginning is what it is relative to.
        (r#"content:"c"; within:3;"#, b"abcd", true),
        (r#"content:"c"; within:2;"#, b"abcd", false),
        // A window that ends before the buffer begins wraps around to the whole of it, as in Suricata.
        (r#"content:"a"; content:"d"; distance:-9; within:2;"#, b"abcd", true),
        // A negated content leaves the place to which the next is relative.
        (r#"content:"a"; content:!"x"; distance:0; content:"b"; distance:0; within:1;"#, b"abcd", true),
    ]);
}

#[test]
fn what_others_are_relative_to_is_tried_at_each_occurrence() {
    let chain = r#"content:"a"; content:"b"; within:1; content:"c"; within:1;"#;
    table(&[
        (chain, b"a_ab_abc", true),
        (chain, b"a_ab_acb", false),
        (r#"content:"aa"; content:"b"; within:1;"#, b"aaab", true),
        (r#"content:"a"; content:!"b"; within:1;"#, b"ab_ac", true),
        (r#"content:"a"; content:!"b"; within:1;"#, b"ab_ab", false),
        (r#"content:"a"; isdataat:!3,relative;"#, b"a____a", true),
        (r#"content:"a"; isdataat:3,relative;"#, b"a__", false),
        (r#"content:"a"; byte_test:1,=,2,0,relative;"#, b"a\x01a\x02", true),
        (r#"content:"a"; byte_test:1,=,3,0,relative;"#, b"a\x01a\x02", false),
        (r#"content:"a"; byte_jump:1,0,relative; content:"x"; within:1;"#, b"a\x01__a\x01_x", true),
        (r#"content:"a"; pcre:"/^x/R";"#, b"a_ax", true),
        (r#"pcre:"/a./"; content:"x"; within:1;"#, b"a_ _a_x", true),
        (r#"pcre:"/a./"; content:"x"; within:1;"#, b"a_ _a_y", false),
        // What stands in no relation is not tried again.
        (r#"content:"a"; content:"b"; content:"c"; within:1;"#, b"abcb", true),
        (r#"content:"a"; content:"b"; content:"c"; within:1;"#, b"babc", true),
    ]);
}

#[test]
fn named_numbers_place_contents() {
    table(&[
        (r#"byte_extract:1,0,n; content:"x"; offset:n;"#, b"\x03__x", true),
        (r#"byte_extract:1,0,n; content:"x"; offset:n;"#, b"\x04__x", false),
        (r#"byte_extract:1,0,n; content:"x"; depth:n;"#, b"\x04__x", true),
        (r#"byte_extract:1,0,n; content:"x"; depth:n;"#, b"\x03__x", false),
        (r#"byte_extract:1,0,n; content:"x"; offset:1; depth:n;"#, b"\x03__x", true),
        (r#"byte_extract:1,0,n; content:"x"; offset:1; depth:n;"#, b"\x02__x", false),
        (r#"byte_extract:1,0,n; content:"a"; content:"x"; distance:n;"#, b"\x02a__x", true),
        (r#"byte_extract:1,0,n; content:"a"; content:"x"; distance:n;"#, b"\x03a__x", false),
        (r#"byte_extract:1,0,n; content:"a"; content:"x"; within:n;"#, b"\x03a__x", true),
        (r#"byte_extract:1,0,n; content:"a"; content:"x"; within:n;"#, b"\x02a__x", false),
        (r#"byte_extract:1,0,n; isdataat:n;"#, b"\x02__", true),
        (r#"byte_extract:1,0,n; isdataat:n;"#, b"\x03__", false),
        (r#"byte_extract:1,0,n; byte_test:1,>,n,1;"#, b"\x03\x04", true),
        (r#"byte_extract:1,0,n; byte_test:1,>,n,1;"#, b"\x03\x03", false),
        (r#"byte_extract:1,0,n; byte_test:1,=,7,n;"#, b"\x02_\x07", true),
        (r#"byte_extract:1,0,n; byte_test:n,=,0x0102,1;"#, b"\x02\x01\x02", true),
        (r#"byte_extract:1,0,n; byte_test:n,=,1,1;"#, b"\x09_________", false),
        (r#"byte_extract:1,0,n; byte_jump:1,n; content:"x"; within:1;"#, b"\x01\x01_x", true),
    ]);
}

#[test]
fn isdataat_is_true_up_to_the_last_byte() {
    table(&[
        ("isdataat:3;", b"abcd", true),
        ("isdataat:4;", b"abcd", false),
        ("isdataat:!4;", b"abcd", true),
        ("isdataat:!3;", b"abcd", false),
        (r#"content:"b"; isdataat:2,relative;"#, b"abcd", true),
        (r#"content:"b"; isdataat:3,relative;"#, b"abcd", false),
        (r#"content:"b"; isdataat:!3,relative;"#, b"abcd", true),
        (r#"content:"b"; isdataat:!2,relative;"#, b"abcd", false),
        (r#"content:"b"; isdataat: 2 , relative , rawbytes;"#, b"abcd", true),
        (r#"pcre:"/cd/"; isdataat:!1,relative;"#, b"abcd", true),
        (r#"pcre:"/cd/"; isdataat:!1,relative;"#, b"abcde", false),
    ]);
}

#[test]
fn byte_test_compares_numbers_of_every_form() {
    table(&[
        ("byte_test:2,=,0x0102,0;", b"\x01\x02", true),
        ("byte_test:2,=,0x0201,0,little;", b"\x01\x02", true),
        ("byte_test:2,=,258,1;", b"_\x01\x02", true),
        ("byte_test:2,=,258,2;", b"_\x01\x02", false),
        ("byte_test:1,<,5,0;", b"\x04", true),
        ("byte_test:1,<,5,0;", b"\x05", false),
        ("byte_test:1,>,5,0;", b"\x06", true),
        ("byte_test:1,>,5,0;", b"\x05", false),
        ("byte_test:1,<=,5,0;", b"\x05", true),
        ("byte_test:1,<=,5,0;", b"\x06", false),
        ("byte_test:1,>=,5,0;", b"\x05", true),
        ("byte_test:1,>=,5,0;", b"\x04", false),
        ("byte_test:1,&,6,0;", b"\x04", true),
        ("byte_test:1,&,6,0;", b"\x09", false),
        ("byte_test:1,^,6,0;", b"\x07", true),
        ("byte_test:1,^,6,0;", b"\x06", false),
        ("byte_test:1,!,5,0;", b"\x04", true),
        ("byte_test:1,!=,5,0;", b"\x05", false),
        ("byte_test:1,!>,5,0;", b"\x05", true),
        ("byte_test:1,! &,6,0;", b"\x09", true),
        ("byte_test:3,=,123,0,string,dec;", b"123", true),
        ("byte_test:3,=,0x123,0,string,hex;", b"123", true),
        ("byte_test:3,=,83,0,string,oct;", b"123", true),
        ("byte_test:4,=,0x12,0,string;", b"0x12", true),
        ("byte_test:3,=,12,0,string,dec;", b"12 ", true),
        ("byte_test:3,=,12,0,string,dec;", b"x12", false),
        ("byte_test:3,!=,12,0,string,dec;", b"x12", false),
        ("byte_test:1,=,3,0,bitmask 0x0c;", b"\x0f", true),
        ("byte_test:1,=,3,0,bitmask 0x0c;", b"\x07", false),
        (r#"content:"a"; byte_test:1,=,1,1,relative;"#, b"a_\x01", true),
        (r#"content:"a"; byte_test:1,=,97,-1,relative;"#, b"ab", true),
        (r#"content:"a"; byte_test:1,=,97,-2,relative;"#, b"ab", false),
        ("byte_test:8,=,0xffffffffffffffff,0;", b"\xff\xff\xff\xff\xff\xff\xff\xff", true),
        ("byte_test:0,=,0,0;", b"x", true),
        ("byte_test:1,=,0,0;", b"", false),
        ("byte_test:1,!=,0,-1;", b"xx", false),
    ]);
    for (options, is_little_endian, want) in [
        ("byte_test:2,=,258,0,dce;", Some(false), true),
        ("byte_test:2,=,513,0,dce;", Some(true), true),
        ("byte_test:2,=,258,0,dce;", None, true),
        ("byte_extract:2,0,n,dce; byte_test:2,=,n,0;", Some(false), true),
        ("byte_extract:2,0,n,dce; byte_test:2,=,n,0,little;", Some(true), true),
        ("byte_test:2,=,258,0;", Some(true), true),
    ] {
        let view = View { is_little_endian, ..View::of(b"") };
        assert_eq!(holds_in(options, view, b"\x01\x02"), want, "{options}");
    }
}

#[test]
fn byte_jump_goes_where_the_number_says_and_not_beyond_the_end() {
    let x = |jump: &str| format!(r#"{jump} content:"x"; within:1;"#);
    for (jump, bytes, want) in [
        ("byte_jump:1,0;", &b"\x01_x"[..], true),
        ("byte_jump:1,0;", b"\x02_x", false),
        ("byte_jump:1,0,multiplier 2;", b"\x01__x", true),
        ("byte_jump:1,0,align;", b"\x03____x", true),
        ("byte_jump:1,0,align;", b"\x04____x", true),
        ("byte_jump:1,0,align;", b"\x05____x", false),
        ("byte_jump:1,0,from_beginning;", b"\x02_x", true),
        ("byte_jump:1,0,from_end,post_offset -2;", b"\x01__x", true),
        ("byte_jump:1,0,from_end;", b"\x00__x", false),
        ("byte_jump:1,0,post_offset 1;", b"\x01__x", true),
        ("byte_jump:1,1,from_beginning,post_offset -9;", b"x\x01", true),
        ("byte_jump:2,0,little;", b"\x01\x00_x", true),
        ("byte_jump:2,0,string,dec;", b"01_x", true),
        ("byte_jump:2,0,string,hex;", b"0a__________x", true),
        ("byte_jump:0,0,post_offset 2;", b"__x", true),
        ("byte_jump:2,0,string,bitmask 0xfe;", b"13______x", true),
        ("byte_jump:8,0;", b"\xff\xff\xff\xff\xff\xff\xff\xffx", false),
        ("byte_jump:1,5;", b"\x01_x", false),
    ] {
        assert_eq!(holds(&x(jump), bytes), want, "{jump} {bytes:?}");
    }
}

#[test]
fn byte_math_calculates() {
    let result = |operation: &str, want: u64| {
        format!(
            "byte_math:bytes 1, offset 0, {operation}, result r; byte_test:1,=,{want},1; byte_test:1,=,r,1;"
        )
    };
    for (operation, left, want, is_so) in [
        ("oper +, rvalue 3", 4, 7, true),
        ("oper +, rvalue 3", 4, 8, false),
        ("oper -, rvalue 3", 4, 1, true),
        ("oper *, rvalue 3", 4, 12, true),
        ("oper /, rvalue 3", 7, 2, true),
        ("oper /, rvalue 0", 7, 0, false),
        ("oper <<, rvalue 3", 1, 8, true),
        ("oper <<, rvalue 99", 1, 0, true),
        ("oper >>, rvalue 3", 17, 2, true),
        ("oper +, rvalue 3, bitmask 0xf0", 0x1f, 2, true),
        ("oper +, rvalue 3, bitmask f0", 0x1f, 3, false),
    ] {
        let bytes = [left, u8::try_from(want).unwrap()];
        assert_eq!(holds(&result(operation, want), &bytes), is_so, "{operation} {left}");
    }
    table(&[
        (
            "byte_extract:1,0,n; byte_math:bytes 1,offset 1,oper *,rvalue n,result r; byte_test:1,=,r,2;",
            b"\x02\x03\x06",
            true,
        ),
        (
            "byte_math:bytes 2,offset 0,oper +,rvalue 1,result r,string dec; byte_test:1,=,r,2;",
            b"12\x0d",
            true,
        ),
        (
            "byte_math:bytes 2,offset 0,oper +,rvalue 0,result r,endian little; byte_test:2,=,r,2;",
            b"\x01\x00\x00\x01",
            true,
        ),
        (
            r#"content:"a"; byte_math:bytes 1,offset 0,oper +,rvalue 0,result r,relative; content:"x"; distance:r; within:1;"#,
            b"a\x01_x",
            true,
        ),
        ("byte_extract:1,0,n,multiplier 3,align 4; byte_test:1,=,n,1;", b"\x03\x0c", true),
        ("byte_extract:1,0,n,align 4; byte_test:1,=,n,1;", b"\x05\x08", true),
        ("byte_extract:2,0,n,string,hex; byte_test:1,=,n,2;", b"1f\x1f", true),
        (r#"byte_extract:1,0,n; content:"x"; within:1;"#, b"\x01x", true),
    ]);
}

#[test]
fn expressions_hold_as_their_flags_say() {
    table(&[
        (r#"pcre:"/b.d/";"#, b"abcd", true),
        (r#"pcre:"/B.D/";"#, b"abcd", false),
        (r#"pcre:"/B.D/i";"#, b"abcd", true),
        (r#"pcre:!"/b.d/";"#, b"abcd", false),
        (r#"pcre:!"/b.e/";"#, b"abcd", true),
        (r#"pcre:"/a.b/";"#, b"a\nb", false),
        (r#"pcre:"/a.b/s";"#, b"a\nb", true),
        (r#"pcre:"/^b/";"#, b"a\nb", false),
        (r#"pcre:"/^b/m";"#, b"a\nb", true),
        (r#"pcre:"/b c/";"#, b"abc", false),
        (r#"pcre:"/b c/x";"#, b"abc", true),
        (r#"pcre:"/bc/A";"#, b"abc", false),
        (r#"pcre:"/ab/A";"#, b"abc", true),
        (r#"pcre:"/c$/";"#, b"abc\n", true),
        (r#"pcre:"/c$/E";"#, b"abc\n", false),
        (r#"pcre:"/a.*b/G"; content:"c"; within:1;"#, b"abcb", true),
        (r#"pcre:"/a.*b/"; content:"c"; within:1;"#, b"abcb", false),
        (r#"content:"a"; pcre:"/^b/R";"#, b"ab", true),
        (r#"content:"b"; pcre:"/a/R";"#, b"ab", false),
        (r#"content:"a"; pcre:!"/b/R"; content:"c"; within:1;"#, b"ac", true),
        (r#"pcre:"/(a)\1/";"#, b"aa", true),
        (r#"pcre:"/\xff\x00/";"#, b"\xff\0", true),
        (r#"pcre:"/(.)b/, pkt:name";"#, b"ab", true),
        (r#"pcre:"/(.)b/i, flow:name, pkt:other";"#, b"AB", true),
        (r#"pcre:"/$/";"#, b"", true),
    ]);
}

#[test]
fn sizes_are_of_the_whole_buffer() {
    table(&[
        ("bsize:4;", b"abcd", true),
        ("bsize:4;", b"abc", false),
        ("bsize:2<>4;", b"abc", true),
        ("bsize:2<>4;", b"abcd", false),
        ("bsize:0;", b"", true),
        ("urilen:>3,norm;", b"abcd", true),
        ("urilen:>4;", b"abcd", false),
        (r#"bsize:>=4; content:"d";"#, b"abcd", true),
        ("entropy: bytes 4, offset 0, value >= 2;", b"abcdaaaa", true),
        ("entropy: bytes 4, offset 1, value >= 2;", b"aabcaaaa", false),
    ]);
    let part = View { is_complete: false, offset: 6, ..View::of(b"") };
    for (options, want) in [
        ("bsize:10;", false),
        ("bsize:>9;", true),
        ("bsize:>10;", false),
        ("bsize:<99;", false),
        ("bsize:!9;", true),
        ("bsize:!10;", false),
        (r#"content:"cd"; endswith;"#, false),
        (r#"content:"cd";"#, true),
        ("isdataat:!9;", false),
        ("isdataat:3;", true),
    ] {
        assert_eq!(holds_in(options, part, b"abcd"), want, "{options}");
    }
    let last = View { offset: 6, ..View::of(b"") };
    for (options, want) in [
        ("bsize:10;", true),
        ("bsize:<10;", false),
        (r#"content:"d"; depth:10;"#, true),
        (r#"content:"d"; depth:9;"#, false),
        (r#"content:"a"; depth:6;"#, false),
        (r#"content:"a"; depth:7;"#, true),
    ] {
        assert_eq!(holds_in(options, last, b"abcd"), want, "{options}");
    }
}

#[test]
fn decoded_bytes_have_a_list_of_their_own() {
    table(&[
        (r#"base64_decode; base64_data; content:"Hello";"#, b"SGVsbG8gV29ybGQ=", true),
        (
            r#"base64_decode; base64_data; content:"Hello"; content:"World"; distance:1; within:5;"#,
            b"SGVsbG8gV29ybGQ=",
            true,
        ),
        (r#"base64_decode; base64_data; content:"hello";"#, b"SGVsbG8gV29ybGQ=", false),
        (r#"base64_decode:bytes 4; base64_data; content:"Hel"; endswith;"#, b"SGVsbG8gV29ybGQ=", true),
        (r#"base64_decode:bytes 16, offset 2; base64_data; content:"Hello";"#, b"__SGVsbG8gV29ybGQ=", true),
        (
            r#"content:"a"; base64_decode:offset 1,relative; base64_data; content:"Hello";"#,
            b"_a_SGVsbG8gV29ybGQ=",
            true,
        ),
        (
            r#"content:"a"; base64_decode:offset 1,relative; base64_data; content:"Hello";"#,
            b"_aSGVsbG8gV29ybGQ=",
            false,
        ),
        (r#"base64_decode:offset 99; base64_data; content:!"x";"#, b"SGVsbG8=", false),
    ]);
}

#[test]
fn an_absent_buffer_is_what_the_rule_says() {
    for (options, when_absent, in_foo) in [
        ("absent;", true, false),
        (r#"absent: or_else; content:"foo";"#, true, true),
        (r#"absent: or_else; content:"bar";"#, true, false),
        (r#"absent: or_else; content:!"bar";"#, true, true),
        (r#"absent: error_or; content:"foo";"#, false, true),
        ("absent: must_error;", false, false),
        (r#"content:!"bar";"#, false, true),
    ] {
        let (list, _) = compile(options).unwrap();
        assert_eq!(list.holds_when_absent(), when_absent, "{options}");
        assert_eq!(holds(options, b"foo"), in_foo, "{options}");
    }
    table(&[
        (r#"pcrexform:"x(.)"; absent: must_error;"#, b"a", true),
        (r#"pcrexform:"x(.)"; absent: must_error;"#, b"xa", false),
        (r#"pcrexform:"x(.)"; absent: error_or; content:"b";"#, b"a", true),
        (r#"pcrexform:"x(.)"; absent: error_or; content:"b";"#, b"xa", false),
    ]);
}

#[test]
fn transforms_leave_what_suricata_leaves() {
    for (transforms, bytes, want) in [
        ("to_lowercase;", &b"aBc1\xc4"[..], &b"abc1\xc4"[..]),
        ("to_uppercase;", b"aBc1\xe4", b"ABC1\xe4"),
        ("strip_whitespace;", b" a\tb\r\n c ", b"abc"),
        ("compress_whitespace;", b"  a \t b\n\nc ", b" a b\nc "),
        ("strip_pseudo_headers;", b":method: GET\r\nhost: a\r\n:x", b"host: a\r\n"),
        ("header_lowercase;", b"Host: AbC\r\nUA: X:Y\n", b"host: AbC\r\nua: X:Y\n"),
        ("to_md5;", b"a", b"\x0c\xc1\x75\xb9\xc0\xf1\xb6\xa8\x31\xc3\x99\xe2\x69\x77\x26\x61"),
        (
            "to_sha1;",
            b"a",
            b"\x86\xf7\xe4\x37\xfa\xa5\xa7\xfc\xe1\x5d\x1d\xdc\xb9\xea\xea\xea\x37\x76\x67\xb8",
        ),
        ("url_decode;", b"Weir%20is+%27%61wesome%21%27%25%30%30%ZZ%4", b"Weir is 'awesome!'%00%ZZ%4"),
        ("url_decode;", b"%%41%4%41%", b"%%41%4%41%"),
        ("dotprefix;", b"a.b", b".a.b"),
        ("dotprefix;", b"", b"."),
        ("domain;", b"www.bbc.co.uk", b"bbc.co.uk"),
        ("domain;", b"suricata.io", b"suricata.io"),
        ("domain;", b"uk", b""),
        ("tld;", b"www.bbc.co.uk", b"co.uk"),
        ("tld;", b"a.suricata.io", b"io"),
        (r#"xor:"0a0DC8ff";"#, b"example.com", b"ou\xa9\x92za\xad\xd1ib\xa5"),
        ("xor:offset 1,var 1 0;", b"\x42\x2a\x2b", b"\x42hi"),
        ("xor:offset 9,42;", b"abc", b"abc"),
        ("xor:var 9 0;", b"abc", b"abc"),
        ("xor:offset 1,extract 1 0;", b"\x42\x2a\x2b", b"\x42hi"),
        (r#"xor:"00"; xor:extract 1 0;"#, b"\x42\x2a\x2b", b"\0hi"),
        (r#"pcrexform:"[a-z]+ ([a-z]+)";"#, b"12 ab cd ef", b"cd"),
        ("from_base64;", b"Zm9vYmFy", b"foobar"),
        ("from_base64:offset 6, mode rfc2045;", b"/?arg=Zm 9v Ym Fy", b"foobar"),
        ("from_base64:offset 6;", b"/?arg=Zm 9v Ym Fy", b"f"),
        ("from_base64:bytes 4;", b"Zm9vYmFy", b"foo"),
        ("from_base64:bytes 8;", b"Zm9vYmFy", b"Zm9vYmFy"),
        ("from_base64:offset 8;", b"Zm9vYmFy", b"Zm9vYmFy"),
        ("subslice:1;", b"abcd", b"bcd"),
        ("subslice:-1;", b"abcd", b"d"),
        ("subslice:1,2;", b"abcd", b"bc"),
        ("subslice:1,9;", b"abcd", b""),
        ("subslice:1,9,truncate;", b"abcd", b"bcd"),
        ("subslice:0,-1;", b"abcd", b"abc"),
        ("subslice:3,-3;", b"abcd", b"bc"),
        ("gunzip;", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\xcb\xcf\x07\0\x21\x65\x73\x8c\x03\0\0\0", b"foo"),
        ("zlib_deflate:max-size=2;", b"\x78\x9c\x4b\xcb\xcf\x07\0\x02\x82\x01\x45", b"fo"),
        ("zlib_deflate;", b"none", b""),
        ("to_lowercase; strip_whitespace; dotprefix;", b"A B", b".ab"),
    ] {
        let (_, transforms) = compile(transforms).map(|(list, kept)| (list, (transforms, kept))).unwrap();
        let (mut out, mut scratch) = (vec![1, 2], Scratch::default());
        let transformed = transforms.1.apply(bytes, &mut out, &mut scratch);
        assert!(!transformed.has_failed, "{}", transforms.0);
        assert_eq!(
            String::from_utf8_lossy(transformed.bytes),
            String::from_utf8_lossy(want),
            "{}",
            transforms.0
        );
    }
    for (transforms, bytes) in [
        (r#"pcrexform:"x(.)";"#, &b"abc"[..]),
        (r#"pcrexform:"a(x)?b";"#, b"ab"),
        ("from_base64:mode strict;", b"Zm9 v"),
        ("from_base64;", b"!!"),
    ] {
        let (_, compiled) = compile(transforms).unwrap();
        let (mut out, mut scratch) = (Vec::new(), Scratch::default());
        let transformed = compiled.apply(bytes, &mut out, &mut scratch);
        assert!(transformed.has_failed && transformed.bytes.is_empty(), "{transforms}");
    }
}

#[test]
fn transforms_are_equal_when_they_do_the_same() {
    let of = |options: &str| compile(options).unwrap().1;
    assert_eq!(of(r#"pcrexform:"a(b)"; dotprefix;"#), of(r#"pcrexform:"a(b)"; dotprefix;"#));
    assert_ne!(of(r#"pcrexform:"a(b)";"#), of(r#"pcrexform:"a(c)";"#));
    assert_ne!(of("xor:42;"), of("xor:43;"));
    assert_ne!(of("dotprefix; to_lowercase;"), of("to_lowercase; dotprefix;"));
}

#[test]
fn the_pattern_is_the_named_one_or_the_strongest() {
    for (options, bytes, is_nocase, is_explicit) in [
        (r#"content:"aaaaaaaa"; content:"abcd";"#, &b"abcd"[..], false, false),
        (r#"content:"abcd"; content:"|90 91 92|";"#, b"\x90\x91\x92", false, false),
        (r#"content:"abcd"; content:"xyzw";"#, b"abcd", false, false),
        (r#"content:"ABCD"; nocase; content:"x";"#, b"abcd", true, false),
        (r#"content:"abcd"; content:"x"; fast_pattern;"#, b"x", false, true),
        (r#"content:"abcd"; content:"wxyz"; fast_pattern:1,2;"#, b"xy", false, true),
        (r#"content:"abcd"; content:"x"; fast_pattern:only;"#, b"x", false, true),
        (r#"content:!"abcd"; content:"x";"#, b"x", false, false),
        (r#"content:"x"; base64_decode; base64_data; content:"abcd";"#, b"x", false, false),
    ] {
        let (list, _) = compile(options).unwrap();
        let pattern = list.fast_pattern().unwrap();
        assert_eq!(
            (pattern.bytes, pattern.is_nocase, pattern.is_explicit),
            (bytes, is_nocase, is_explicit),
            "{options}"
        );
    }
    assert_eq!(compile(r#"content:!"abcd"; pcre:"/a/";"#).unwrap().0.fast_pattern(), None);
    assert_eq!(compile(r#"content:!"abcd"; fast_pattern;"#).unwrap().0.fast_pattern(), None);
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    for (options, part) in [
        (r#"nocase;"#, "no content"),
        (r#"content:"ab"; depth:1;"#, "2 bytes"),
        (r#"content:"ab"; within:1;"#, "2 bytes"),
        (r#"content:"ab"; depth:5; depth:5;"#, "repeats"),
        (r#"content:"ab"; depth:5; within:5;"#, "place in the buffer"),
        (r#"content:"ab"; distance:5; offset:5;"#, "relative to another"),
        (r#"content:"ab"; offset:1; startswith;"#, "repeats or contradicts"),
        (r#"content:"ab"; offset:65536;"#, "from 0 to 65535"),
        (r#"content:"ab"; distance:2000000;"#, "from -1048576"),
        (r#"content:"ab"; distance:n;"#, "named `n`"),
        (r#"content:"ab"; nocase; nocase;"#, "repeats"),
        (r#"content:"ab"; nocase:1;"#, "no value"),
        (r#"content:"ab"; fast_pattern:1,2;"#, "not within"),
        (r#"content:"ab"; fast_pattern:x;"#, "an offset and a length"),
        (r#"content:"ab"; fast_pattern:only; depth:5;"#, "fast_pattern:only"),
        (r#"content:!"ab"; fast_pattern; depth:5;"#, "negated"),
        (r#"content:"ab"; fast_pattern; content:"cd"; fast_pattern;"#, "only one"),
        (r#"content:"ab"; replace:"cde";"#, "its length"),
        (r#"content:!"ab"; replace:"cd";"#, "its length"),
        (r#"replace:"cd";"#, "no content"),
        ("asn1:foo;", "bitstring_overflow"),
        (r#"content:"abc"; bsize:2;"#, "bsize"),
        (r#"content:"ab"#, "double quotes"),
        ("bsize:n;", "a size"),
        ("bsize:3,raw;", "a size"),
        ("urilen:70000;", "a size"),
        ("isdataat:x;", "named `x`"),
        ("isdataat:1,absolute;", "relative"),
        ("isdataat:70000;", "65535"),
        ("byte_test:9,=,1,0;", "more than 8"),
        ("byte_test:1,~,1,0;", "operators"),
        ("byte_test:1,=,1;", "an offset"),
        ("byte_test:1,=,1,0,hex;", "without `string`"),
        ("byte_test:1,=,1,0,string,dce;", "order of bytes"),
        ("byte_test:1,=,1,0,bitmask x;", "bitmask"),
        ("byte_test:1,=,1,0,sometimes;", "sometimes"),
        ("byte_test:1,=,x,0;", "named `x`"),
        ("byte_test:1,=,1,2x;", "a number from"),
        ("byte_test:1,=,1,0,relative,,;", "not known"),
        ("byte_jump:1;", "an offset"),
        ("byte_jump:1,0,from_end,from_beginning;", "one place"),
        ("byte_jump:1,0,multiplier 0;", "multiplier"),
        ("byte_jump:1,70000;", "65535"),
        ("byte_extract:1,0;", "a name"),
        ("byte_extract:1,0,1x;", "begins with a letter"),
        ("byte_extract:9,0,x;", "more than 8"),
        ("byte_extract:1,0,x,align 3;", "align"),
        ("byte_math:bytes 1,offset 0,oper +,rvalue 1;", "result"),
        ("byte_math:bytes 1,offset 0,oper %,rvalue 1,result x;", "operators"),
        ("byte_math:bytes 5,offset 0,oper <<,rvalue 1,result x;", "shifted"),
        ("byte_math:bytes 11,offset 0,oper +,rvalue 1,result x;", "from 1 to 10"),
        ("base64_decode;", "never holds"),
        (r#"base64_data; content:"x";"#, "base64_decode"),
        (r#"base64_decode:bytes x; base64_data; content:"x";"#, "bytes N"),
        (r#"base64_decode; base64_data; content:"x"; fast_pattern;"#, "not searched"),
        (r#"absent; content:"x";"#, "looked into"),
        ("absent: or_else;", "nothing else"),
        (r#"content:"x"; absent;"#, "right behind"),
        ("entropy: bytes 4;", "value"),
        ("xor:abc;", "hexadecimal"),
        (r#"pcrexform:"a";"#, "one group"),
        (r#"pcrexform:"(";"#, "parenthesis"),
        ("from_base64:mode x;", "rfc4648"),
        ("gunzip:max-size=2mb;", "max-size"),
        (r#"to_lowercase; content:"A";"#, "to_lowercase"),
        (r#"strip_whitespace; content:"a b";"#, "strip_whitespace"),
        (r#"to_md5; content:"12345678901234567";"#, "to_md5"),
        (r#"pcre:"/(/";"#, "parenthesis"),
    ] {
        let (_, reason) = compile(options).map(|_| ()).expect_err(options);
        assert!(reason.contains(part), "{options}: {reason}");
    }
    let many: String = (0..=NAMES_MAX).map(|number| format!("byte_extract:1,0,n{number};")).collect();
    assert!(compile(&many).unwrap_err().1.contains("64 named numbers"));
}

#[test]
fn a_content_can_change_lists() {
    let (mut from, mut to, mut names) = (MatchList::default(), MatchList::default(), Names::default());
    for option in read(br#"content:"a"; pcre:"/b/"; content:"c"; isdataat:5;"#) {
        from.option(&option, &mut names).unwrap().unwrap();
    }
    to.push(from.take_last().unwrap());
    for option in read(b"nocase;") {
        to.option(&option, &mut names).unwrap().unwrap();
    }
    from.finish().unwrap();
    to.finish().unwrap();
    let mut scratch = Scratch::default();
    assert!(to.matches(&View::of(b"C"), &mut scratch));
    assert!(from.matches(&View::of(b"_ba____"), &mut scratch) && !from.is_empty());
    assert!(MatchList::default().is_empty() && MatchList::default().take_last().is_none());
}

#[test]
fn what_does_not_end_is_given_up_and_counted() {
    let chain = compile(
        r#"content:"a"; content:"a"; within:99; content:"a"; within:99; content:"a"; within:99; content:"b"; within:99;"#,
    );
    let (list, mut scratch) = (chain.unwrap().0, Scratch::default());
    assert!(!list.matches(&View::of(&[b'a'; 400]), &mut scratch));
    assert_eq!(scratch.given_up, GivenUp { steps: 1, ..GivenUp::default() });
    assert!(list.matches(&View::of(b"aaaab"), &mut scratch));

    let (list, _) = compile(r#"content:"a"; pcre:"/^[^b]*b/R";"#).unwrap();
    assert!(!list.matches(&View::of(&vec![b'a'; 200_000]), &mut scratch));
    assert_eq!(scratch.given_up.bytes, 1);

    let (list, _) = compile(r#"pcre:!"/(a+)+$/";"#).unwrap();
    assert!(!list.matches(&View::of(&[vec![b'a'; 99], vec![b'b']].concat()), &mut scratch));
    assert_eq!(scratch.given_up.expressions, 1);
}

#[test]
fn a_match_is_small_for_there_are_a_hundred_thousand() {
    assert!(size_of::<Match>() <= 128, "{}", size_of::<Match>());
}

#[test]
fn numbers_of_the_rule_before_are_forgotten() {
    let (list, mut scratch) =
        (compile(r#"byte_extract:1,0,n; content:"x"; offset:n;"#).unwrap().0, Scratch::default());
    assert!(!list.matches(&View::of(b"\x09__x"), &mut scratch));
    assert_eq!(scratch.values.get(Slot(0)), 9);
    scratch.begin();
    assert_eq!(scratch.values.get(Slot(0)), 0);
}
