//! No input panics, hangs, or takes memory out of proportion. A short run of what the fuzz targets
//! do for long; KAPI_FUZZ_SECONDS makes it as long as wanted.

mod common;

use std::time::{Duration, Instant};

use kapi::front::{elf, tree};

/// xorshift: the run is the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

const PIECES: [&str; 24] = [
    "(",
    ")",
    "\"",
    "\\",
    "{",
    "}",
    ",",
    ";",
    "+",
    "/*",
    "*/",
    "/**\n * x - y\n * contexts: z\n",
    "\n * param: a\n *   type:",
    "KAPI_END_SPEC",
    "DEFINE_KERNEL_API_SPEC(",
    ".params[99999999999999999999] = {",
    "\n#if 0\n",
    "\n#else\n",
    "\n#endif",
    "'",
    "|",
    "\u{e9}",
    "\0",
    "KAPI_PARAM(0,",
];

#[test]
fn mutated_text_is_read_or_refused() {
    let seeds = [
        common::own_patch(),
        common::own_folded(),
        include_str!("../../../specs/prctl-thp.kapi").to_owned(),
        include_str!("../../../specs/mctl.kapi").to_owned(),
    ];
    let seconds = std::env::var("KAPI_FUZZ_SECONDS")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(3);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut runs = 0u32;
    while Instant::now() < end {
        let mut text = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            let mut at = random.below(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match random.below(3) {
                0 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
                1 => text.truncate(at),
                _ => {
                    let mut to = (at + random.below(40)).min(text.len());
                    while !text.is_char_boundary(to) {
                        to += 1;
                    }
                    text.replace_range(at..to, "");
                }
            }
        }
        let start = Instant::now();
        let parsed = tree::read_text("fuzz.c", &text);
        for spec in &parsed.specs {
            let _ = kapi::lint::lint(std::slice::from_ref(spec), &[]);
            for (_, format) in kapi::emit::Format::ALL {
                let _ = kapi::emit::emit(std::slice::from_ref(spec), format);
            }
        }
        for diagnostic in &parsed.diagnostics {
            let _ = diagnostic.to_string();
        }
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "slow input: {text}"
        );
        runs += 1;
    }
    assert!(runs > 5, "{runs}");
}

#[test]
fn mutated_binaries_are_read_or_refused() {
    // A real object without specifications is enough to reach the section and symbol readers.
    let Ok(base) = std::fs::read(std::env::current_exe().unwrap_or_default()) else {
        return;
    };
    let base = &base[..base.len().min(64 * 1024)];
    let mut random = Random(7);
    for _ in 0..300 {
        let mut bytes = base.to_vec();
        for _ in 0..=random.below(20) {
            let at = if random.below(2) == 0 {
                random.below(128)
            } else {
                random.below(bytes.len())
            };
            bytes[at] = u8::try_from(random.below(256)).unwrap_or(0);
        }
        let _ = elf::parse("fuzz.o", &bytes);
    }
}

#[test]
fn large_inputs_take_time_in_proportion() {
    let one = "DEFINE_KERNEL_API_SPEC(sys_@)\n KAPI_DESCRIPTION(\"d\")\n KAPI_PARAM(0, \"a\", \"int\", \"x\")\n KAPI_PARAM_END\n KAPI_ERROR(0, -EINVAL, \"EINVAL\", \"s\", \"d\")\nKAPI_END_SPEC;\n\nSYSCALL_DEFINE1(@, int, a)\n{\n}\n";
    let lines: String = (0..2_000)
        .map(|n| one.replace('@', &format!("call{n}")))
        .collect();
    // The same in one line.
    let folded = lines.replace('\n', " + ");
    for text in [lines, folded] {
        let start = Instant::now();
        let parsed = tree::read_text("many.c", &text);
        assert_eq!(parsed.specs.len(), 2_000);
        assert!(parsed.specs.iter().all(|s| s.signature.is_some()));
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{:?}",
            start.elapsed()
        );
    }
    // Many subfields and many parameters of one comment.
    let mut text = String::from("/**\n * x - y\n");
    (0..50_000).for_each(|n| text.push_str(&format!(" * @p{n}: d\n")));
    text.push_str(" * contexts: process\n * error: EINVAL, s\n");
    (0..50_000).for_each(|_| text.push_str(" *   desc: again\n"));
    text.push_str(" */\n");
    let start = Instant::now();
    assert_eq!(
        tree::read_text("wide.c", &text).specs[0].params.len(),
        50_000
    );
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{:?}",
        start.elapsed()
    );
}
