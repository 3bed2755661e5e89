//! What this kernel does where kernels differ, by trying: a version number says nothing of what a
//! distribution has put into it.

use mctl_abi::Errno;
use mctl_model::{Feature, Features, HugeZeroWrite};

use super::hand::{Order, order};
use super::{StockBackend, answer, fd_arg, nr};
use crate::backend::{Answer, Backend, Start, Trouble};
use crate::view::{ARENA, Scope};

const BLOCK: u64 = 2 << 20;
const MADV_HUGEPAGE: u64 = 14;
const MADV_NOHUGEPAGE: u64 = 15;
const MADV_DONTNEED: u64 = 4;
const MADV_DOFORK: u64 = 11;
const MADV_DONTDUMP: u64 = 16;
const MADV_COLD: u64 = 20;
const MADV_COLLAPSE: u64 = 25;
const MADV_GUARD_INSTALL: u64 = 102;
/// `MAP_HUGETLB | MAP_NORESERVE` beside those of private anonymous memory in place: no page of the pool is asked for.
const HUGETLB: u64 = 0x4_4032;
/// How often something is tried that shows by a huge page: memory may be too scattered for one.
const TRIES: usize = 8;

/// A block of the arena; no two that are tried are neighbours.
const fn block(at: u64) -> u64 {
    ARENA.start + 2 * at * BLOCK
}

impl StockBackend {
    /// Finds out what the kernel does.
    pub(super) fn try_kernel(&mut self) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            self.host.huge_zero_write = self.measure_huge_zero_write()?;
            if self.host.huge_zero_write != HugeZeroWrite::AsTable {
                break;
            }
        }
        let (mut has, mut lacks) = (Features::NONE, Features::NONE);
        self.spawn(0, &Start::root())?;
        for feature in Feature::ALL {
            match self.try_feature(feature)? {
                Some(true) => has = has.with(feature),
                Some(false) => lacks = lacks.with(feature),
                // It does not show on this host, as it is set.
                None => {}
            }
        }
        self.clear()?;
        self.host.features = has;
        self.host.lacks = lacks;
        Ok(())
    }

    /// Whether the kernel has a feature; `None` where that cannot be told.
    fn try_feature(&mut self, feature: Feature) -> Result<Option<bool>, Trouble> {
        let (pid, scratch) = {
            let hand = &self.task(0)?.hand;
            (u64::from(hand.pid), hand.scratch)
        };
        let advised = |fd: u64| {
            [
                order::poke(0, block(0)),
                order::poke(1, 4096),
                order::syscall(nr::PROCESS_MADVISE, [fd, scratch, 1, MADV_DONTDUMP, 0, 0]),
            ]
        };
        match feature {
            Feature::ExceptAdvised => {
                let set = self.say(&[order::syscall(nr::PRCTL, [41, 1, 2, 0, 0, 0])])?;
                self.task(0)?
                    .hand
                    .all(&[order::syscall(nr::PRCTL, [41, 0, 0, 0, 0, 0])])?;
                Ok(Some(set.is_ok()))
            }
            Feature::MemoryMerge => {
                let get = self.say(&[order::syscall(nr::PRCTL, [68, 0, 0, 0, 0, 0])])?;
                Ok(Some(get.is_ok()))
            }
            Feature::GuardRegions => {
                let done = self.say(&[
                    map(block(0), BLOCK),
                    advise(block(0), 4096, MADV_GUARD_INSTALL),
                ])?;
                Ok(known(done))
            }
            Feature::OwnAdvice => {
                let open = order::syscall(nr::PIDFD_OPEN, [pid, 0, 0, 0, 0, 0]);
                let Ok(fd) = self.say(&[map(block(0), BLOCK), open])? else {
                    return Ok(None);
                };
                let done = self.say(&advised(fd_arg(fd)))?;
                self.close_after(0, Some(fd))?;
                Ok(known(done))
            }
            Feature::PidfdSelf => {
                // COLD is taken for anybody: what is refused is the descriptor.
                let mut both = true;
                for fd in [
                    mctl_abi::PIDFD_SELF_THREAD,
                    mctl_abi::PIDFD_SELF_THREAD_GROUP,
                ] {
                    let mut orders = advised(fd_arg(i64::from(fd)));
                    if let Some([_, _, _, _, _, advice, _, _]) = orders.last_mut() {
                        *advice = MADV_COLD;
                    }
                    self.task(0)?.hand.all(&[map(block(0), BLOCK)])?;
                    both &= self.say(&orders)?.is_ok();
                }
                Ok(Some(both))
            }
            Feature::ThreadPidfds => {
                const PIDFD_THREAD: u64 = 0x80;
                let open = order::syscall(nr::PIDFD_OPEN, [pid, PIDFD_THREAD, 0, 0, 0, 0]);
                let opened = self.say(&[open])?;
                if let Ok(fd) = opened {
                    self.close_after(0, Some(fd))?;
                }
                Ok(known(opened))
            }
            Feature::TableReclaim => {
                for _ in 0..TRIES {
                    if let Some(reclaims) = self.tables_are_reclaimed()? {
                        return Ok(Some(reclaims));
                    }
                }
                Ok(None)
            }
            Feature::StrictDofork => {
                let map = order::syscall(nr::MMAP, [block(0), BLOCK, 3, HUGETLB, u64::MAX, 0]);
                if self.say(&[map])?.is_err() {
                    return Ok(None);
                }
                let done = self.say(&[advise(block(0), BLOCK, MADV_DOFORK)])?;
                Ok(known(done).map(|takes| !takes))
            }
            Feature::PartialCollapse => {
                let done = self.say(&[
                    map(block(0), 2 * BLOCK),
                    order::touch(block(0), 2 * BLOCK, true),
                    advise(block(0) + BLOCK / 4, BLOCK / 4, MADV_COLLAPSE),
                ])?;
                Ok(known(done))
            }
        }
    }

    /// A block whose small pages and table went can be huge again. Beside it one that never had a
    /// table: where that one is not huge either, nothing can be told.
    fn tables_are_reclaimed(&mut self) -> Result<Option<bool>, Trouble> {
        let [plain, emptied] = [block(1), block(2)];
        let mut orders = vec![
            map(plain, BLOCK),
            map(emptied, BLOCK),
            advise(emptied, BLOCK, MADV_NOHUGEPAGE),
            order::touch(emptied, 4096, true),
            advise(emptied, BLOCK, MADV_DONTNEED),
        ];
        for at in [plain, emptied] {
            orders.push(advise(at, BLOCK, MADV_HUGEPAGE));
            orders.push(order::touch(at, 4096, true));
        }
        self.task(0)?.hand.all(&orders)?;
        let view = self.observe(0, Scope::default())?;
        let huge = |at| view.at(at).is_some_and(|span| span.huge == BLOCK);
        Ok(match (huge(plain), huge(emptied)) {
            (true, emptied) => Some(emptied),
            (false, _) => None,
        })
    }

    /// Orders to the one task that tries things; the last one's answer.
    fn say(&mut self, orders: &[Order]) -> Result<Answer, Trouble> {
        Ok(answer(self.task(0)?.hand.all(orders)?))
    }

    /// What this kernel does at a write to the huge zero page, by trying; as the table says where
    /// it brings none.
    fn measure_huge_zero_write(&mut self) -> Result<HugeZeroWrite, Trouble> {
        // Three blocks apart: one only written, one read first, one that refuses between the two.
        let [plain, read, refusing] = [0, 1, 2].map(block);
        self.spawn(0, &Start::root())?;
        let mut orders = Vec::new();
        for at in [plain, read, refusing] {
            orders.push(map(at, BLOCK));
            orders.push(advise(at, BLOCK, MADV_HUGEPAGE));
        }
        orders.push(order::touch(read, 4096, false));
        orders.push(order::touch(refusing, 4096, false));
        orders.push(advise(refusing, BLOCK, MADV_NOHUGEPAGE));
        orders.extend([plain, read, refusing].map(|at| order::touch(at, 4096, true)));
        self.task(0)?.hand.all(&orders)?;
        let view = self.observe(0, Scope::default())?;
        let huge = |at| view.at(at).is_some_and(|span| span.huge == BLOCK);
        let found = (huge(plain), huge(read), huge(refusing));
        self.clear()?;
        Ok(match found {
            (true, true, true) => HugeZeroWrite::Huge,
            (true, false, _) => HugeZeroWrite::Small,
            _ => HugeZeroWrite::AsTable,
        })
    }
}

/// Private anonymous memory at an address, in place of what is there.
fn map(at: u64, len: u64) -> Order {
    const READ_WRITE: u64 = 3;
    const FIXED_PRIVATE_ANONYMOUS: u64 = 0x32;
    order::syscall(
        nr::MMAP,
        [at, len, READ_WRITE, FIXED_PRIVATE_ANONYMOUS, u64::MAX, 0],
    )
}

fn advise(at: u64, len: u64, advice: u64) -> Order {
    order::syscall(nr::MADVISE, [at, len, advice, 0, 0, 0])
}

/// Success and EINVAL say whether there is such a call; another error says nothing of it.
fn known(answer: Answer) -> Option<bool> {
    match answer {
        Ok(_) => Some(true),
        Err(Errno::EINVAL) => Some(false),
        Err(_) => None,
    }
}
