//! Engines with a fault on purpose, for real processes: the suite has to notice them there, too.

use super::{Done, Engine, EngineAdvice, EngineCall, Library, OwnProcess, Short, Told};
use crate::backend::Trouble;

/// Says yes to everything and does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle;

impl Engine for Idle {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn begin(&mut self, _: bool) {}

    fn knows_best_effort(&self) -> bool {
        false
    }

    fn mctl(&mut self, _: &EngineCall, _: &mut dyn OwnProcess) -> Result<Done, Trouble> {
        Ok(Done {
            told: Some(Told::ENFORCED),
            ..Done::plain(Ok(0))
        })
    }

    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        _: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble> {
        let bytes = match &call.entries {
            Ok(list) => list
                .iter()
                .fold(0_u64, |sum, (_, len)| sum.saturating_add(*len)),
            Err(_) => 1 << 20,
        };
        Ok(Done::plain(Ok(i64::try_from(bytes).unwrap_or(i64::MAX))))
    }
}

/// The library as far as it can, which then says that everything is enforced.
#[derive(Debug)]
pub struct Claiming(Library);

impl Claiming {
    /// In the place of this engine.
    #[must_use]
    pub fn over(library: Library) -> Claiming {
        Claiming(library)
    }
}

impl Engine for Claiming {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn begin(&mut self, _: bool) {
        self.0.begin(true);
    }

    fn knows_best_effort(&self) -> bool {
        false
    }

    fn mctl(&mut self, call: &EngineCall, own: &mut dyn OwnProcess) -> Result<Done, Trouble> {
        let mut done = self.0.mctl(call, own)?;
        done.short = Short::Nowhere;
        done.told = done.told.map(|_| Told::ENFORCED);
        Ok(done)
    }

    fn process_madvise(
        &mut self,
        call: &EngineAdvice,
        own: &mut dyn OwnProcess,
    ) -> Result<Done, Trouble> {
        self.0.process_madvise(call, own)
    }
}
