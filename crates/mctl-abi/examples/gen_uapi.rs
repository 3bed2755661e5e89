//! Prints the kernel's include/uapi/linux/mctl.h:
//! `cargo run -p mctl-abi --example gen_uapi > include/uapi/linux/mctl.h`.

#[path = "../uapi/mod.rs"]
mod uapi;

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(uapi::generate().as_bytes())
}
