//! Saying what was done: errors and notes on standard error, the rest on standard output.

use std::io::Write;
use std::time::Duration;

use super::{Sum, Tell};
use crate::exit;
use crate::fail::Ended;
use crate::output::Out;
use crate::report;

pub(crate) fn tell<O: Tell>(operation: &O, sum: &Sum<O::Done>) -> Ended {
    let mut out = Out::new();
    let mut code = exit::DONE;
    let manner = operation.manner();
    for row in &sum.rows {
        match &row.result {
            Err(error) => {
                code = exit::FAILED;
                let sentence =
                    report::sentence(error, &row.spec.pid.to_string(), &operation.name());
                report::error(&sentence, operation.hint(error).as_deref());
            }
            Ok(done) => {
                if !operation.say(&mut out, row, done)? {
                    code = exit::FAILED;
                }
            }
        }
    }
    out.flush()?;
    if !operation.say_of_all(sum) {
        code = exit::FAILED;
    }
    if sum.rows.is_empty() && sum.not_begun == 0 && operation.expects_some() {
        report::note("there is no process there");
    }
    if manner.json {
        out.json(&operation.json(sum))?;
    } else if manner.verbose && sum.ended > 0 {
        writeln!(out, "{} processes ended meanwhile", sum.ended)?;
    }
    out.finish()?;
    if !sum.interrupted {
        return Ok(code);
    }
    let rest = match sum.not_begun {
        0 => String::new(),
        1 => "; 1 process was not begun".to_owned(),
        n => format!("; {n} processes were not begun"),
    };
    report::error(
        &format!("interrupted{rest}; {}", operation.what_stays()),
        Some("give the same command again to go on"),
    );
    Ok(exit::INTERRUPTED)
}

/// Three digits are enough.
pub(crate) fn time(duration: Duration) -> String {
    match duration.as_micros() {
        0..1000 => format!("{} µs", duration.as_micros()),
        1000..10_000_000 => format!("{} ms", duration.as_millis()),
        _ => format!("{} s", duration.as_secs()),
    }
}
