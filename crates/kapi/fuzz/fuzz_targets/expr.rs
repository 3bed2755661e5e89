//! The expression language: what parses prints, and parses again to the same.
#![no_main]

struct Nothing;

impl kapi::expr::Bindings for Nothing {
    fn name(&self, _: &str) -> Option<i128> {
        None
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(expr) = kapi::expr::parse(text) {
        let _ = kapi::expr::eval(&expr, &Nothing);
        let _ = kapi::expr::check(&expr, &kapi::expr::Scope::default());
        if let Ok(again) = kapi::expr::parse(&expr.to_string()) {
            assert_eq!(again, expr);
        }
    }
});
