// SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only

//! The action table: one declaration per action, from which everything else that names an action
//! is made (the Rust enum, the C header, the command line's words, the specification).

use core::fmt;

/// Sets or clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Puts a policy in force.
    Set,
    /// Takes it back.
    Clear,
}

/// Which policy an action concerns. The discriminant is the policy's bit `k` in the mask of
/// `MCTL_GET_POLICY`; its SET action has number `2k + 1` and its CLEAR action `2k + 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// Huge pages wherever the host does not forbid them.
    Hugepage = 0,
    /// No huge pages.
    Nohugepage = 1,
    /// File pages that only this address space mapped are reclaimed first after its death.
    FadeOnDeath = 2,
    /// Same-page merging (KSM) of every compatible mapping.
    Mergeable = 3,
    /// Huge pages only where the program asked by madvise(2).
    HugepageAdvised = 4,
}

impl PolicyKind {
    /// Every policy, in the order of the mask's bits.
    pub const ALL: [PolicyKind; 5] = [
        PolicyKind::Hugepage,
        PolicyKind::Nohugepage,
        PolicyKind::FadeOnDeath,
        PolicyKind::Mergeable,
        PolicyKind::HugepageAdvised,
    ];

    /// The bit in the mask of `MCTL_GET_POLICY` that says "in force".
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            PolicyKind::Hugepage => 1,
            PolicyKind::Nohugepage => 1 << 1,
            PolicyKind::FadeOnDeath => 1 << 2,
            PolicyKind::Mergeable => 1 << 3,
            PolicyKind::HugepageAdvised => 1 << 4,
        }
    }

    /// The bit in the mask that says "also the default across exec".
    #[must_use]
    pub const fn exec_bit(self) -> u32 {
        self.bit() << 8
    }

    /// True for the three policies that exclude one another.
    #[must_use]
    pub const fn is_thp(self) -> bool {
        matches!(
            self,
            PolicyKind::Hugepage | PolicyKind::Nohugepage | PolicyKind::HugepageAdvised
        )
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionInfo {
    /// The action.
    pub action: Action,
    /// Its number in the C ABI.
    pub number: i32,
    /// Its name in the C header.
    pub c_name: &'static str,
    /// What it does and to which policy; `None` for `MCTL_GET_POLICY`.
    pub effect: Option<(Verb, PolicyKind)>,
    /// The word for its policy on the command line.
    pub word: &'static str,
    /// Whether it takes `MCTL_SET_DEFAULT_EXEC`.
    pub takes_default_exec: bool,
    /// Where the action comes from.
    pub origin: &'static str,
    /// One line for help texts and headers.
    pub summary: &'static str,
}

macro_rules! effect {
    (set $kind:ident) => {
        Some((Verb::Set, PolicyKind::$kind))
    };
    (clear $kind:ident) => {
        Some((Verb::Clear, PolicyKind::$kind))
    };
    (get) => {
        None
    };
}

macro_rules! actions {
    ($(
        $number:literal $action:ident $c_name:ident [$($effect:tt)+] $word:literal
            exec=$exec:literal $origin:literal $summary:literal;
    )*) => {
        /// What `mctl()` is asked to do.
        ///
        /// 0 is no action, so that a zeroed argument fails.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum Action {
            $(
                #[doc = concat!("`", stringify!($c_name), "`: ", $summary, ".")]
                $action = $number,
            )*
        }

        /// The table, in the order of the numbers.
        pub const ACTIONS: &[ActionInfo] = &[
            $(ActionInfo {
                action: Action::$action,
                number: $number,
                c_name: stringify!($c_name),
                effect: effect!($($effect)+),
                word: $word,
                takes_default_exec: $exec,
                origin: $origin,
                summary: $summary,
            },)*
        ];

        impl Action {
            /// The action with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Action> {
                match number {
                    $($number => Some(Action::$action),)*
                    _ => None,
                }
            }

            /// What it does and to which policy; `None` for `MCTL_GET_POLICY`. As its row says,
            /// without making the row.
            #[must_use]
            pub const fn effect(self) -> Option<(Verb, PolicyKind)> {
                match self {
                    $(Action::$action => effect!($($effect)+),)*
                }
            }

            /// Whether the action takes `MCTL_SET_DEFAULT_EXEC`.
            #[must_use]
            pub const fn takes_default_exec(self) -> bool {
                match self {
                    $(Action::$action => $exec,)*
                }
            }

            /// The action's row.
            #[must_use]
            pub const fn info(self) -> ActionInfo {
                match self {
                    $(Action::$action => ActionInfo {
                        action: Action::$action,
                        number: $number,
                        c_name: stringify!($c_name),
                        effect: effect!($($effect)+),
                        word: $word,
                        takes_default_exec: $exec,
                        origin: $origin,
                        summary: $summary,
                    },)*
                }
            }
        }
    };
}

actions! {
    1 SetHugepage MCTL_SET_HUGEPAGE [set Hugepage] "hugepage" exec=true "proposal"
        "allow huge pages everywhere but where the host or the program forbids them";
    2 ClearHugepage MCTL_CLEAR_HUGEPAGE [clear Hugepage] "hugepage" exec=false "proposal"
        "stop allowing huge pages beyond the host's rule";
    3 SetNohugepage MCTL_SET_NOHUGEPAGE [set Nohugepage] "nohugepage" exec=true "proposal"
        "make no huge pages";
    4 ClearNohugepage MCTL_CLEAR_NOHUGEPAGE [clear Nohugepage] "nohugepage" exec=false "proposal"
        "return to the host's rule on huge pages";
    5 SetFadeOnDeath MCTL_SET_FADE_ON_DEATH [set FadeOnDeath] "fade-on-death" exec=false "proposal"
        "let the file pages that only this process mapped be reclaimed first after its death";
    6 ClearFadeOnDeath MCTL_CLEAR_FADE_ON_DEATH [clear FadeOnDeath]
        "fade-on-death" exec=false "proposal"
        "treat its file pages like anyone's after its death";
    7 SetMergeable MCTL_SET_MERGEABLE [set Mergeable] "mergeable" exec=true "mctl"
        "let KSM merge equal pages in every compatible mapping";
    8 ClearMergeable MCTL_CLEAR_MERGEABLE [clear Mergeable] "mergeable" exec=false "mctl"
        "stop merging and unmerge what was merged";
    9 SetHugepageAdvised MCTL_SET_HUGEPAGE_ADVISED [set HugepageAdvised]
        "hugepage-advised" exec=true "mctl"
        "make huge pages only where the program asked for them";
    10 ClearHugepageAdvised MCTL_CLEAR_HUGEPAGE_ADVISED [clear HugepageAdvised]
        "hugepage-advised" exec=false "mctl"
        "return to the host's rule on huge pages";
    256 GetPolicy MCTL_GET_POLICY [get] "policy" exec=false "mctl"
        "return the policies in force as a mask";
}

impl Action {
    /// The number in the C ABI.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The SET or CLEAR action of a policy.
    #[must_use]
    pub const fn of(verb: Verb, kind: PolicyKind) -> Action {
        match (verb, kind) {
            (Verb::Set, PolicyKind::Hugepage) => Action::SetHugepage,
            (Verb::Clear, PolicyKind::Hugepage) => Action::ClearHugepage,
            (Verb::Set, PolicyKind::Nohugepage) => Action::SetNohugepage,
            (Verb::Clear, PolicyKind::Nohugepage) => Action::ClearNohugepage,
            (Verb::Set, PolicyKind::FadeOnDeath) => Action::SetFadeOnDeath,
            (Verb::Clear, PolicyKind::FadeOnDeath) => Action::ClearFadeOnDeath,
            (Verb::Set, PolicyKind::Mergeable) => Action::SetMergeable,
            (Verb::Clear, PolicyKind::Mergeable) => Action::ClearMergeable,
            (Verb::Set, PolicyKind::HugepageAdvised) => Action::SetHugepageAdvised,
            (Verb::Clear, PolicyKind::HugepageAdvised) => Action::ClearHugepageAdvised,
        }
    }
}

impl PolicyKind {
    /// The word for the policy on the command line, for example `nohugepage`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        Action::of(Verb::Set, self).info().word
    }

    /// The policy with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<PolicyKind> {
        PolicyKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().c_name)
    }
}

/// The flags of `mctl()`. Only known bits can be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// `MCTL_SET_DEFAULT_EXEC`: the policy is also the default across exec.
    pub const DEFAULT_EXEC: Flags = Flags(1);

    /// The flags with these bits, or `None` where one is unknown.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Flags> {
        if bits & !Flags::DEFAULT_EXEC.0 == 0 {
            Some(Flags(bits))
        } else {
            None
        }
    }

    /// The bits, as in the C ABI.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether `MCTL_SET_DEFAULT_EXEC` is among them.
    #[must_use]
    pub const fn default_exec(self) -> bool {
        self.0 & Flags::DEFAULT_EXEC.0 != 0
    }
}
