//! Writes include/mctl.h: `cargo run -p mctl-capi --example gen_header`.

#[path = "../header/mod.rs"]
mod header;

fn main() -> Result<(), String> {
    let text = header::generate()?;
    std::fs::write(header::PATH, text).map_err(|error| format!("{}: {error}", header::PATH))
}
