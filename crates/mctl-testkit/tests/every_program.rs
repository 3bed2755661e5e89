//! No program is forgotten: each is named in `left_alone.rs` or is a tool or a command fixture.

#[test]
fn every_program_has_a_test() {
    let tests = concat!(include_str!("left_alone.rs"), include_str!("memory.rs"));
    for name in mctl_testkit::program_names().expect("the programs") {
        let named = tests.contains(&format!("\"{name}\""));
        assert!(named || name == "rude_tracer", "{name} has no test");
    }
}
