//! `cargo xtask tidy` as a test.

#[test]
fn the_tree_is_tidy() {
    let problems = xtask::tidy::check(&xtask::root()).expect("the tree can be read");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
