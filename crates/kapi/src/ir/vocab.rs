//! The closed vocabularies of the formats, kept open: an unknown word stays the word it was.

use std::borrow::Cow;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word of one vocabulary.
pub trait Word: Clone + Debug + Display + Eq + Hash + Sized {
    /// What the C constants start with (`KAPI_TYPE_`).
    const PREFIX: &'static str;
    /// Every known word, in the order of its C numbers.
    fn known() -> &'static [Self];
    /// Reads either spelling: `int`, `KAPI_TYPE_INT`.
    fn parse(text: &str) -> Self;
    /// The word of a C number.
    fn from_number(number: u64) -> Option<Self>;
    /// The C number; `None` for an unknown word.
    fn number(&self) -> Option<u64>;
    /// The short spelling (`int`); an unknown word as it was written.
    fn word(&self) -> &str;
    /// The C spelling (`KAPI_TYPE_INT`); an unknown word as it was written.
    fn c_name(&self) -> String {
        if self.number().is_some() {
            format!("{}{}", Self::PREFIX, self.word().to_ascii_uppercase())
        } else {
            self.word().to_owned()
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, { $($variant:ident = $text:literal : $number:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`.")] $variant,)+
            /// A word that the vocabulary does not have, exactly as it was written.
            Other(String),
        }

        impl Word for $name {
            const PREFIX: &'static str = $prefix;
            fn known() -> &'static [Self] {
                &[$(Self::$variant),+]
            }
            fn parse(text: &str) -> Self {
                let text = text.trim();
                let bare = text.strip_prefix($prefix).unwrap_or(text);
                let wanted = bare.to_ascii_lowercase().replace('-', "_");
                match wanted.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text.to_owned()),
                }
            }
            fn from_number(number: u64) -> Option<Self> {
                $(if number == $number { return Some(Self::$variant); })+
                None
            }
            fn number(&self) -> Option<u64> {
                match self {
                    $(Self::$variant => Some($number),)+
                    Self::Other(_) => None,
                }
            }
            fn word(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::parse(&String::deserialize(deserializer)?))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({
                    "description": concat!("A word of this vocabulary; anything else is an unknown symbol (", $prefix, "…), kept as written."),
                    "anyOf": [ { "enum": [$($text),+] }, { "type": "string", "minLength": 1 } ]
                })
            }
        }
    };
}

words!(
    /// What kind of thing a parameter, field or return value is.
    TypeKind, "KAPI_TYPE_", {
    Void = "void": 0, Int = "int": 1, Uint = "uint": 2, Ptr = "ptr": 3, Struct = "struct": 4,
    Union = "union": 5, Enum = "enum": 6, FuncPtr = "func_ptr": 7, Array = "array": 8, Fd = "fd": 9,
    UserPtr = "user_ptr": 10, Path = "path": 11, Custom = "custom": 12, String = "string": 13,
    Bool = "bool": 14, Hex = "hex": 15, Binary = "binary": 16, Bitmap = "bitmap": 17,
});
words!(
    /// Direction and properties of a parameter (bits).
    ParamFlag, "KAPI_PARAM_", {
    In = "in": 1, Out = "out": 1 << 1, InOut = "inout": 1 << 2, Optional = "optional": 1 << 3,
    Const = "const": 1 << 4, Volatile = "volatile": 1 << 5, User = "user": 1 << 6, Dma = "dma": 1 << 7,
    Aligned = "aligned": 1 << 8, SysfsReadonly = "sysfs_readonly": 1 << 9,
    SysfsWriteonly = "sysfs_writeonly": 1 << 10, SysfsRw = "sysfs_rw": 1 << 11,
    SysfsBinary = "sysfs_binary": 1 << 12,
});
words!(
    /// Contexts that a call may be made in (bits).
    Context, "KAPI_CTX_", {
    Process = "process": 1, Softirq = "softirq": 1 << 1, Hardirq = "hardirq": 1 << 2, Nmi = "nmi": 1 << 3,
    Atomic = "atomic": 1 << 4, Sleepable = "sleepable": 1 << 5,
    PreemptDisabled = "preempt_disabled": 1 << 6, IrqDisabled = "irq_disabled": 1 << 7,
});
words!(
    /// How the values of a parameter are limited. Numbers are those of the kerneldoc series; the
    /// older macro series has only the first four and `custom` as 4.
    ConstraintKind, "KAPI_CONSTRAINT_", {
    None = "none": 0, Range = "range": 1, Mask = "mask": 2, Enum = "enum": 3, Alignment = "alignment": 4,
    PowerOfTwo = "power_of_two": 5, PageAligned = "page_aligned": 6, Nonzero = "nonzero": 7,
    UserString = "user_string": 8, UserPath = "user_path": 9, UserPtr = "user_ptr": 10,
    Buffer = "buffer": 11, Custom = "custom": 12,
});
words!(
    /// How success is told from failure.
    CheckKind, "KAPI_RETURN_", {
    Exact = "exact": 0, Range = "range": 1, ErrorCheck = "error_check": 2, Fd = "fd": 3,
    Custom = "custom": 4, NoReturn = "no_return": 5,
});
words!(
    /// The kind of a lock.
    LockKind, "KAPI_LOCK_", {
    None = "none": 0, Mutex = "mutex": 1, Spinlock = "spinlock": 2, Rwlock = "rwlock": 3,
    Seqlock = "seqlock": 4, Rcu = "rcu": 5, Semaphore = "semaphore": 6, Custom = "custom": 7,
});
words!(
    /// What a call has to do with a signal (bits).
    SignalDirection, "KAPI_SIGNAL_", {
    Receive = "receive": 1, Send = "send": 1 << 1, Handle = "handle": 1 << 2, Block = "block": 1 << 3,
    Ignore = "ignore": 1 << 4,
});
words!(
    /// What happens on a signal.
    SignalAction, "KAPI_SIGNAL_ACTION_", {
    Default = "default": 0, Terminate = "terminate": 1, Coredump = "coredump": 2, Stop = "stop": 3,
    Continue = "continue": 4, Custom = "custom": 5, Return = "return": 6, Restart = "restart": 7,
    Queue = "queue": 8, Discard = "discard": 9, Transform = "transform": 10,
});
words!(
    /// When a signal can occur.
    SignalTiming, "KAPI_SIGNAL_TIME_", {
    Entry = "entry": 0, During = "during": 1, Exit = "exit": 2, Anytime = "anytime": 3,
    Blocking = "while_blocked": 4, Sleeping = "while_sleeping": 5,
});
words!(
    /// How a signal is queued.
    SignalQueue, "KAPI_SIGNAL_QUEUE_", {
    Standard = "standard": 0, Realtime = "realtime": 1, Coalesce = "coalesce": 2, Replace = "replace": 3,
    Discard = "discard": 4,
});
words!(
    /// The kind of a side effect (bits).
    Effect, "KAPI_EFFECT_", {
    AllocMemory = "alloc_memory": 1, FreeMemory = "free_memory": 1 << 1, ModifyState = "modify_state": 1 << 2,
    SignalSend = "signal_send": 1 << 3, FilePosition = "file_position": 1 << 4,
    LockAcquire = "lock_acquire": 1 << 5, LockRelease = "lock_release": 1 << 6,
    ResourceCreate = "resource_create": 1 << 7, ResourceDestroy = "resource_destroy": 1 << 8,
    Schedule = "schedule": 1 << 9, Hardware = "hardware": 1 << 10, Network = "network": 1 << 11,
    Filesystem = "filesystem": 1 << 12, ProcessState = "process_state": 1 << 13,
    Irreversible = "irreversible": 1 << 14,
});
words!(
    /// What a capability does.
    CapAction, "KAPI_CAP_", {
    BypassCheck = "bypass_check": 0, IncreaseLimit = "increase_limit": 1,
    OverrideRestriction = "override_restriction": 2, GrantPermission = "grant_permission": 3,
    ModifyBehavior = "modify_behavior": 4, AccessResource = "access_resource": 5,
    PerformOperation = "perform_operation": 6,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_word_and_unknown_ones_stay() {
        assert_eq!(TypeKind::parse("KAPI_TYPE_INT"), TypeKind::Int);
        assert_eq!(TypeKind::parse("int"), TypeKind::Int);
        assert_eq!(
            CheckKind::parse("KAPI_RETURN_ERROR_CHECK").number(),
            Some(2)
        );
        let odd = Effect::parse("KAPI_EFFECT_TELEPORT");
        assert_eq!(odd, Effect::Other("KAPI_EFFECT_TELEPORT".into()));
        assert_eq!(odd.number(), None);
        assert_eq!(odd.c_name(), "KAPI_EFFECT_TELEPORT");
        assert_eq!(LockKind::Rwlock.c_name(), "KAPI_LOCK_RWLOCK");
    }

    #[test]
    fn every_known_word_reads_back_from_its_number_and_both_names() {
        fn check<W: Word + 'static>() {
            for word in W::known() {
                assert_eq!(&W::parse(word.word()), word);
                assert_eq!(&W::parse(&word.c_name()), word);
                assert_eq!(word.number().and_then(W::from_number).as_ref(), Some(word));
            }
        }
        check::<TypeKind>();
        check::<ParamFlag>();
        check::<Context>();
        check::<ConstraintKind>();
        check::<CheckKind>();
        check::<LockKind>();
        check::<SignalDirection>();
        check::<SignalAction>();
        check::<SignalTiming>();
        check::<Effect>();
        check::<CapAction>();
    }
}
