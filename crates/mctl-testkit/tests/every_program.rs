//! No program is forgotten: each is named in `left_alone.rs` or is a tool or a command fixture.

#[test]
fn every_program_has_a_test() {
    let tests = concat!(include_str!("left_alone.rs"), include_str!("memory.rs"));
    let readme = include_str!("../programs/README.md");
    for name in mctl_testkit::program_names().expect("the programs") {
        let named = tests.contains(&format!("\"{name}\""));
        let tool = ["rude_tracer", "under", "map_times"].contains(&name.as_str());
        assert!(named || tool, "{name} has no test");
        assert!(
            readme.contains(&format!("`{name}`")),
            "{name} is not in programs/README.md"
        );
    }
}
