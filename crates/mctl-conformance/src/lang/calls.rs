//! What a task does: one verb and its words.

use mctl_abi::{ACTIONS, Verb};
use mctl_model::{CloneKind, Madvise, VmFlags};

use super::SyntaxError;
use super::lex::{Word, Words, parse_number};
use super::parse::{Kind, Parser, caps_word, number_word, place, size_word};
use crate::call::{Addr, Call, Entries, How, Place, Prctl, Source, Whom};

const VERBS: &str = "a verb: map, unmap, protect, remap, brk, madvise, lock, lock2, unlock, \
    lockall, unlockall, touch, fork, vfork, clone-vm, thread, exec, exit, exit-thread, wait, kill, \
    pidfd, open-other, close, mctl, prctl, fill-mappings, memlock, become, unshare-user, process-madvise, \
    pmadvise, read-file";

impl Parser {
    pub(super) fn call(&mut self, words: &mut Words) -> Result<Call, SyntaxError> {
        let verb = words.take(VERBS)?;
        Ok(match verb.text.as_str() {
            "map" => self.map(words)?,
            "unmap" => Call::Unmap(self.addr(words)?, words.size()?),
            "protect" => {
                let (at, len) = (self.addr(words)?, words.size()?);
                Call::Protect(at, len, prot(words)?, words.take_if("growsdown"))
            }
            "remap" => self.remap(words)?,
            "brk" => Call::Brk(self.addr(words)?),
            "madvise" => Call::Madvise(self.addr(words)?, words.size()?, advice(words)?),
            "lock" => Call::Lock(self.addr(words)?, words.size()?),
            "lock2" => {
                let (at, len) = (self.addr(words)?, words.size()?);
                Call::Lock2(
                    at,
                    len,
                    bits(words, &[("onfault", 1)], "`onfault` or a number")?,
                )
            }
            "unlock" => Call::Unlock(self.addr(words)?, words.size()?),
            "lockall" => {
                let names = [("current", 1), ("future", 2), ("onfault", 4)];
                let expected = "`current`, `future`, `onfault`, joined by commas, or a number";
                Call::LockAll(bits(words, &names, expected)?)
            }
            "unlockall" => Call::UnlockAll,
            "touch" => {
                let (at, len) = (self.addr(words)?, words.size()?);
                let how = words.take("`read` or `write`")?;
                match how.text.as_str() {
                    "read" => Call::Touch(at, len, false),
                    "write" => Call::Touch(at, len, true),
                    _ => return Err(words.wrong(&how, "`read` or `write`")),
                }
            }
            "fork" => Call::Clone(CloneKind::Fork, self.name(words, Kind::Task)?),
            "vfork" => Call::Clone(CloneKind::Vfork, self.name(words, Kind::Task)?),
            "clone-vm" => Call::Clone(CloneKind::Vm, self.name(words, Kind::Task)?),
            "thread" => Call::Clone(CloneKind::Thread, self.name(words, Kind::Task)?),
            "exec" => exec(words)?,
            "exit" => Call::Exit,
            "exit-thread" => Call::ExitThread,
            "wait" => Call::Wait(self.known(words, Kind::Task)?),
            "kill" => {
                let target = self.known(words, Kind::Task)?;
                let signal = words.number("a signal (0, 9, 15)")?;
                Call::Kill(target, i32::try_from(signal).unwrap_or(i32::MAX))
            }
            "pidfd" => {
                let fd = self.name(words, Kind::Fd)?;
                let target = self.known(words, Kind::Task)?;
                let flags = if words.is_empty() || words.peek().is_some_and(|w| w.text == "->") {
                    0
                } else {
                    bits(words, &[("thread", 0x80)], "`thread` or a number")?
                };
                Call::PidfdOpen(fd, target, flags)
            }
            "open-other" => Call::OpenOther(self.name(words, Kind::Fd)?),
            "close" => Call::Close(self.known(words, Kind::Fd)?),
            "mctl" => self.mctl(words)?,
            "prctl" => prctl(words)?,
            "fill-mappings" => Call::FillMappings(words.number("a number of mappings")?),
            "memlock" => Call::Memlock(words.size()?),
            "become" => become_(words)?,
            "unshare-user" => Call::UnshareUser,
            "process-madvise" => {
                let whom = self.whom(words)?;
                let advice = advice(words)?;
                let flags = flags_key(words, &[])?;
                Call::ProcessMadvise(whom, advice, flags, self.entries(words)?)
            }
            "pmadvise" => self.pmadvise(words)?,
            "read-file" => {
                let file = self.known(words, Kind::File)?;
                let first = words.number("the first page")?;
                Call::ReadFile(file, first, words.number("a number of pages")?)
            }
            _ => return Err(words.wrong(&verb, VERBS)),
        })
    }

    fn map(&mut self, words: &mut Words) -> Result<Call, SyntaxError> {
        let region = self.name(words, Kind::Region)?;
        let len = words.size()?;
        let mut at = None;
        let mut rights = VmFlags::READ | VmFlags::WRITE;
        let mut place_how = Place::Noreplace;
        let mut source = Source::Anon;
        let mut on = [false; 6];
        let switches = [
            "shared",
            "growsdown",
            "locked",
            "populate",
            "noreserve",
            "stack",
        ];
        while let Some(word) = words.peek().cloned() {
            let switch = switches.iter().position(|name| *name == word.text);
            if word.text == "->" {
                break;
            } else if let Some(flag) = switch.and_then(|index| on.get_mut(index)) {
                *flag = true;
                words.take("")?;
            } else if words.take_if("fixed") {
                place_how = Place::Fixed;
            } else if words.take_if("anywhere") {
                place_how = Place::Anywhere;
            } else if words.take_if("hugetlb") {
                source = Source::Hugetlb;
            } else if let Some(value) = words.take_key("prot") {
                rights = prot_word(words, &value)?;
            } else if let Some(value) = words.take_key("at") {
                at = Some(self.addr_word(words, &value)?);
            } else if let Some(value) = words.take_key("file") {
                let file = place(&self.scenario().names.files, &value.text)
                    .ok_or_else(|| words.wrong(&value, "the name of a file"))?;
                source = Source::File(file, 0);
            } else if let Some(value) = words.take_key("offset") {
                let bytes = size_word(words, &value)?;
                if let Source::File(_, offset) = &mut source {
                    *offset = bytes;
                } else {
                    return Err(words.wrong(&value, "`file=` before `offset=`"));
                }
            } else {
                let expected = "prot=, at=, file=, offset=, fixed, anywhere, hugetlb, shared, \
                    growsdown, locked, populate, noreserve or stack";
                return Err(words.wrong(&word, expected));
            }
        }
        let [shared, growsdown, locked, populate, noreserve, stack] = on;
        Ok(Call::Map {
            region,
            at,
            len,
            prot: rights,
            shared,
            place: place_how,
            growsdown,
            locked,
            populate,
            noreserve,
            stack,
            source,
        })
    }

    fn remap(&mut self, words: &mut Words) -> Result<Call, SyntaxError> {
        let at = self.addr(words)?;
        let (old, new) = (words.size()?, words.size()?);
        let (mut maymove, mut dontunmap, mut to, mut result) = (false, false, None, None);
        loop {
            if words.take_if("maymove") {
                maymove = true;
            } else if words.take_if("dontunmap") {
                dontunmap = true;
            } else if let Some(value) = words.take_key("to") {
                to = Some(self.addr_word(words, &value)?);
            } else if words.take_if("as") {
                result = Some(self.name(words, Kind::Region)?);
            } else {
                return Ok(Call::Remap {
                    at,
                    old,
                    new,
                    maymove,
                    to,
                    dontunmap,
                    result,
                });
            }
        }
    }

    fn mctl(&mut self, words: &mut Words) -> Result<Call, SyntaxError> {
        let whom = self.whom(words)?;
        let expected = "an action (set-hugepage, clear-mergeable, get, …) or a number";
        let word = words.take(expected)?;
        let action = action_word(&word.text).ok_or_else(|| words.wrong(&word, expected))?;
        let mut flags = 0;
        let mut how = How::default();
        loop {
            if words.take_if("default-exec") {
                flags |= 1;
            } else if words.take_if("owner-rule") {
                how.owner_rule = true;
            } else if words.take_if("best-effort") {
                how.best_effort = true;
            } else if let Some(value) = words.take_key("flags") {
                flags = u32::try_from(number_word(words, &value)?)
                    .map_err(|_| words.wrong(&value, "flags of 32 bits"))?;
            } else {
                return Ok(Call::Mctl(whom, action, flags, how));
            }
        }
    }

    /// Whom a call names.
    fn whom(&mut self, words: &mut Words) -> Result<Whom, SyntaxError> {
        let expected = "`self`, `self-process`, a descriptor, a task, `pid:TASK`, \
            `stale-pid:TASK` or `fd:NUMBER`";
        let word = words.take(expected)?;
        let names = &self.scenario().names;
        let task = |name: &str| place(&names.tasks, name);
        let found = match word.text.as_str() {
            "self" => Some(Whom::SelfThread),
            "self-process" => Some(Whom::SelfProcess),
            text => match text.split_once(':') {
                Some(("pid", name)) => task(name).map(|task| Whom::Pid(task, true)),
                Some(("stale-pid", name)) => task(name).map(|task| Whom::Pid(task, false)),
                Some(("fd", number)) => number.parse().ok().map(Whom::RawFd),
                Some(_) => None,
                None => place(&names.fds, text)
                    .map(Whom::Fd)
                    .or_else(|| task(text).map(Whom::Task)),
            },
        };
        found.ok_or_else(|| words.wrong(&word, expected))
    }

    fn pmadvise(&mut self, words: &mut Words) -> Result<Call, SyntaxError> {
        let whom = self.whom(words)?;
        let advice = advice(words)?;
        let names = [
            ("skip-errors", 1),
            ("unmapped-ok", 2),
            ("fork-exec-default", 4),
            ("entire", 8),
            ("trio", 0x70),
        ];
        let flags = flags_key(words, &names)?;
        let destructive = words.take_if("destructive");
        let entries = match words.take_key("null") {
            Some(value) => Entries::Null(size_word(words, &value)?),
            None => Entries::List(self.entries(words)?),
        };
        Ok(Call::Pmadvise(whom, advice, flags, entries, destructive))
    }

    fn entries(&mut self, words: &mut Words) -> Result<Vec<(Addr, u64)>, SyntaxError> {
        let mut list = Vec::new();
        while words.peek().is_some_and(|word| word.text != "->") {
            list.push((self.addr(words)?, words.size()?));
        }
        Ok(list)
    }
}

fn exec(words: &mut Words) -> Result<Call, SyntaxError> {
    let (mut set_uid, mut script) = (None, false);
    loop {
        if let Some(value) = words.take_key("set-uid") {
            let uid = number_word(words, &value)?;
            let uid = u32::try_from(uid).map_err(|_| words.wrong(&value, "a user id"))?;
            set_uid = Some(uid);
        } else if words.take_if("script") {
            script = true;
        } else {
            return Ok(Call::Exec { set_uid, script });
        }
    }
}

fn become_(words: &mut Words) -> Result<Call, SyntaxError> {
    let expected = "`uid=`";
    let Some(value) = words.take_key("uid") else {
        let word = words.take(expected)?;
        return Err(words.wrong(&word, expected));
    };
    let uid = number_word(words, &value)?;
    let uid = u32::try_from(uid).map_err(|_| words.wrong(&value, "a user id"))?;
    let caps = match words.take_key("caps") {
        Some(value) => caps_word(words, &value)?,
        None => mctl_model::Caps::NONE,
    };
    Ok(Call::Become(uid, caps))
}

fn prctl(words: &mut Words) -> Result<Call, SyntaxError> {
    let expected = "thp-disable, get-thp-disable, memory-merge, get-memory-merge, no-new-privs, \
        get-no-new-privs or dumpable";
    let word = words.take(expected)?;
    let which = Prctl::ALL
        .iter()
        .find(|(_, name, _)| *name == word.text)
        .map(|(which, ..)| *which)
        .ok_or_else(|| words.wrong(&word, expected))?;
    let mut args = [0; 4];
    for arg in &mut args {
        if words.is_empty() || words.peek().is_some_and(|word| word.text == "->") {
            break;
        }
        *arg = words.number("a number")?;
    }
    Ok(Call::Prctl(which, args))
}

fn prot(words: &mut Words) -> Result<VmFlags, SyntaxError> {
    let word = words.take("rights (r, rw, rx, rwx, w, none)")?;
    prot_word(words, &word)
}

fn prot_word(words: &Words, word: &Word) -> Result<VmFlags, SyntaxError> {
    let mut flags = VmFlags::NONE;
    if word.text == "none" {
        return Ok(flags);
    }
    for letter in word.text.chars() {
        flags = flags
            | match letter {
                'r' => VmFlags::READ,
                'w' => VmFlags::WRITE,
                'x' => VmFlags::EXEC,
                _ => return Err(words.wrong(word, "rights (r, rw, rx, rwx, w, none)")),
            };
    }
    Ok(flags)
}

pub(super) fn advice(words: &mut Words) -> Result<Madvise, SyntaxError> {
    let expected = "an advice (hugepage, dontneed, …) or its number";
    let word = words.take(expected)?;
    Madvise::from_word(&word.text)
        .or_else(|| {
            let number = parse_number(&word.text)?;
            i32::try_from(number).ok().map(Madvise::from_raw)
        })
        .ok_or_else(|| words.wrong(&word, expected))
}

/// `a,b` by names, or a number.
fn bits(words: &mut Words, names: &[(&str, u32)], expected: &str) -> Result<u32, SyntaxError> {
    let word = words.take(expected)?;
    bits_word(words, &word, names, expected)
}

fn bits_word(
    words: &Words,
    word: &Word,
    names: &[(&str, u32)],
    expected: &str,
) -> Result<u32, SyntaxError> {
    if let Some(number) = parse_number(&word.text) {
        return u32::try_from(number).map_err(|_| words.wrong(word, expected));
    }
    let mut bits = 0;
    for part in word.text.split(',') {
        let found = names.iter().find(|(name, _)| *name == part);
        bits |= found.ok_or_else(|| words.wrong(word, expected))?.1;
    }
    Ok(bits)
}

fn flags_key(words: &mut Words, names: &[(&str, u32)]) -> Result<u32, SyntaxError> {
    match words.take_key("flags") {
        Some(word) => bits_word(
            words,
            &word,
            names,
            "flags by name, joined by commas, or a number",
        ),
        None => Ok(0),
    }
}

/// An action by its word on the command line with `set-` or `clear-`, `get`, or a number.
pub(super) fn action_word(text: &str) -> Option<i32> {
    if text == "get" {
        return Some(mctl_abi::Action::GetPolicy.number());
    }
    if let Ok(number) = text.parse::<i32>() {
        return Some(number);
    }
    let (verb, word) = text.split_once('-')?;
    let verb = match verb {
        "set" => Verb::Set,
        "clear" => Verb::Clear,
        _ => return None,
    };
    ACTIONS
        .iter()
        .find(|info| info.word == word && info.effect.is_some_and(|(v, _)| v == verb))
        .map(|info| info.number)
}
