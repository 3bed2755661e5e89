//! What `expect` looks at.

use mctl_abi::PolicyKind;
use mctl_model::VmFlags;

use super::SyntaxError;
use super::lex::{Word, Words, parse_number};
use super::parse::{Kind, Parser};
use crate::call::{Life, Look};

const LOOKS: &str = "vma, unmapped, mapped, rss, huge, eligible, locked, locked-in, thp-enabled, \
    policy, swapped, dirty, young, alive, zombie or gone";

impl Parser {
    pub(super) fn look(&mut self, words: &mut Words) -> Result<Look, SyntaxError> {
        if words.take_if("folios") {
            let file = self.known(words, Kind::File)?;
            let active = words.number("folios on the active list")?;
            let inactive = words.number("folios on the inactive list")?;
            return Ok(Look::Folios(file, active, inactive));
        }
        if words.take_if("refaults") {
            let file = self.known(words, Kind::File)?;
            return Ok(Look::Refaults(file, words.number("a number of refaults")?));
        }
        let task = self.known(words, Kind::Task)?;
        let what = words.take(LOOKS)?;
        Ok(match what.text.as_str() {
            "vma" => {
                let at = self.addr(words)?;
                let (has, lacks) = flag_words(words)?;
                Look::Vma(task, at, has, lacks)
            }
            "unmapped" => Look::Unmapped(task, self.addr(words)?, words.size()?, true),
            "mapped" => Look::Unmapped(task, self.addr(words)?, words.size()?, false),
            "rss" => Look::Rss(task, self.addr(words)?, words.size()?, words.size()?),
            "huge" => Look::Huge(task, self.addr(words)?, words.size()?, words.size()?),
            "swapped" => Look::Swapped(task, self.addr(words)?, words.size()?, words.size()?),
            "dirty" => Look::Dirty(task, self.addr(words)?, words.size()?, words.size()?),
            "young" => Look::Young(task, self.addr(words)?, words.size()?, words.size()?),
            "eligible" => Look::Eligible(task, self.addr(words)?, yes_no(words)?),
            "locked" => Look::Locked(task, words.size()?),
            "locked-in" => Look::LockedIn(task, self.addr(words)?, words.size()?, words.size()?),
            "thp-enabled" => Look::ThpEnabled(task, yes_no(words)?),
            "policy" => {
                let word = words.take(POLICY)?;
                Look::Policy(task, policy_word(words, &word)?)
            }
            text => {
                let life = Life::ALL.iter().find(|(_, name)| *name == text);
                match life {
                    Some((life, _)) => Look::Life(task, *life),
                    None => return Err(words.wrong(&what, LOOKS)),
                }
            }
        })
    }
}

const POLICY: &str =
    "`inherit`, or policies such as `nohugepage/exec,mergeable`, or a mask in hexadecimal";

/// The mask that a list of policies stands for.
fn policy_word(words: &Words, word: &Word) -> Result<u32, SyntaxError> {
    if word.text == "inherit" {
        return Ok(0);
    }
    if let Some(mask) = parse_number(&word.text) {
        return u32::try_from(mask).map_err(|_| words.wrong(word, POLICY));
    }
    let mut mask = 0;
    for part in word.text.split(',') {
        let (name, exec) = match part.split_once('/') {
            Some((name, "exec")) => (name, true),
            Some(_) => return Err(words.wrong(word, POLICY)),
            None => (part, false),
        };
        let kind = PolicyKind::from_word(name).ok_or_else(|| words.wrong(word, POLICY))?;
        mask |= kind.bit();
        if exec {
            mask |= kind.exec_bit();
        }
    }
    Ok(mask)
}

/// `hg !nh lo`: flags that are there and flags that are not.
fn flag_words(words: &mut Words) -> Result<(VmFlags, VmFlags), SyntaxError> {
    let (mut has, mut lacks) = (VmFlags::NONE, VmFlags::NONE);
    while let Some(word) = words.peek().cloned() {
        if word.text == "->" {
            break;
        }
        let expected = "two letters as in VmFlags (hg, nh, mg, lo, dc, wf, …), with ! for not";
        let (text, not) = match word.text.strip_prefix('!') {
            Some(text) => (text, true),
            None => (word.text.as_str(), false),
        };
        let flag = VmFlags::from_letters(text).ok_or_else(|| words.wrong(&word, expected))?;
        if not {
            lacks = lacks | flag;
        } else {
            has = has | flag;
        }
        words.take(expected)?;
    }
    Ok((has, lacks))
}

fn yes_no(words: &mut Words) -> Result<bool, SyntaxError> {
    let word = words.take("`yes` or `no`")?;
    match word.text.as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(words.wrong(&word, "`yes` or `no`")),
    }
}
