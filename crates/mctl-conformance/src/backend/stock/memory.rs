//! mmap(2) and mremap(2) as orders.

use super::calls::{answer, fd_arg, rights};
use super::{StockBackend, nr};
use crate::backend::{Answer, Places, Trouble};
use crate::call::{Call, Place, Source};

impl StockBackend {
    pub(super) fn map(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        let Call::Map {
            region,
            at,
            len,
            prot,
            shared,
            place,
            growsdown,
            locked,
            populate,
            noreserve,
            stack,
            source,
        } = call
        else {
            return Err(Trouble::broken("not a mapping"));
        };
        let own = at.map_or_else(|| Places::own(*region), |at| self.places.resolve(at));
        let mut flags = if *shared { 1 } else { 2 };
        for (on, bit) in [
            (*place == Place::Fixed, 0x10),
            (*place == Place::Noreplace, 0x10_0000),
            (*growsdown, 0x100),
            (*locked, 0x2000),
            (*noreserve, 0x4000),
            (*populate, 0x8000),
            (*stack, 0x2_0000),
        ] {
            if on {
                flags |= bit;
            }
        }
        let (mut fd, mut from) = (-1, 0);
        match source {
            Source::Anon => flags |= 0x20,
            Source::Hugetlb => flags |= 0x20 | 0x4_0000,
            Source::File(file, offset) => {
                let known = self.files.get(usize::from(*file)).cloned().flatten();
                let (path, new) =
                    known.ok_or_else(|| Trouble::broken("the file was never made"))?;
                match self.open(task, &path, if new.readonly { 0 } else { 2 })? {
                    Ok(number) => fd = number,
                    Err(errno) => return Ok(Err(errno)),
                }
                from = *offset;
            }
        }
        let addr = if *place == Place::Anywhere { 0 } else { own };
        let args = [addr, *len, rights(*prot), flags, fd_arg(fd), from];
        let result = self.task(task)?.hand.syscall(nr::MMAP, args)?;
        if fd >= 0 {
            self.close_after(task, Some(fd))?;
        }
        Ok(answer(result).map(|address| self.bind_region(*region, address)))
    }

    fn bind_region(&mut self, region: u16, address: i64) -> i64 {
        if let Ok(address) = u64::try_from(address) {
            self.places.bind(region, address);
        }
        0
    }

    pub(super) fn remap(&mut self, task: u16, call: &Call) -> Result<Answer, Trouble> {
        let Call::Remap {
            at,
            old,
            new,
            maymove,
            to,
            dontunmap,
            result,
        } = call
        else {
            return Err(Trouble::broken("not a remapping"));
        };
        let flags = u64::from(*maymove) | u64::from(to.is_some()) << 1 | u64::from(*dontunmap) << 2;
        let to = to.map_or(0, |to| self.places.resolve(to));
        let args = [self.places.resolve(*at), *old, *new, flags, to, 0];
        let moved = answer(self.task(task)?.hand.syscall(nr::MREMAP, args)?);
        Ok(moved.map(|address| match result {
            Some(region) => self.bind_region(*region, address),
            None => 0,
        }))
    }
}
