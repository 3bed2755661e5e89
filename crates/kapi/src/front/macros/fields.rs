//! What each macro and each designated field means.

use super::args::Arg;
use super::build::{Builder, Open};
use crate::ir::{Field, Limits, Param, Range, SpecKind, Sysfs, Value};

/// A macro that opens an item.
pub(super) struct Opener {
    pub(super) open: Box<dyn Fn(u64) -> Open>,
    pub(super) indexed: bool,
    /// It needs no `*_END`.
    pub(super) closed: bool,
    /// The fields that its arguments set.
    pub(super) inits: &'static [&'static str],
}

/// The item that a macro opens.
pub(super) fn opener(name: &str, open: Open) -> Option<Opener> {
    fn make(
        open: impl Fn(u64) -> Open + 'static,
        closed: bool,
        inits: &'static [&'static str],
    ) -> Option<Opener> {
        Some(Opener {
            open: Box::new(open),
            indexed: true,
            closed,
            inits,
        })
    }
    match name {
        "KAPI_PARAM" => make(Open::Param, false, &["name", "type_name", "description"]),
        "KAPI_RETURN" => {
            let inits = &["type_name", "description"];
            Some(Opener {
                open: Box::new(|_| Open::Return),
                indexed: false,
                closed: false,
                inits,
            })
        }
        "KAPI_ERROR" => make(
            Open::Error,
            true,
            &["error_code", "name", "summary", "description"],
        ),
        "KAPI_LOCK" => make(Open::Lock, false, &["lock_name", "lock_type"]),
        "KAPI_SIGNAL" => make(
            Open::Signal,
            false,
            &["signal_num", "signal_name", "direction", "action"],
        ),
        "KAPI_SIGNAL_MASK" => make(Open::Mask, false, &["mask_name", "description"]),
        "KAPI_SIDE_EFFECT" => make(Open::Effect, false, &["type", "target", "description"]),
        "KAPI_STATE_TRANS" => make(
            Open::Trans,
            false,
            &["object", "from_state", "to_state", "description"],
        ),
        "KAPI_CAPABILITY" => make(Open::Cap, false, &["capability", "cap_name", "action"]),
        "KAPI_CONSTRAINT" => make(Open::Constraint, false, &["name", "description"]),
        "KAPI_STRUCT_SPEC" => make(Open::Struct, false, &["name", "description"]),
        "KAPI_STRUCT_FIELD" => {
            let (Open::Struct(of) | Open::Field(of, _)) = open else {
                return None;
            };
            make(
                move |n| Open::Field(of, n),
                false,
                &["name", "type", "type_name", "description"],
            )
        }
        _ => None,
    }
}

/// The list that `.field[index] = {` opens.
pub(super) fn list_of(field: &str, open: Open, index: u64) -> Option<Open> {
    Some(match (field, open) {
        ("params", Open::Spec) => Open::Param(index),
        ("return_spec", Open::Spec) => Open::Return,
        ("errors", Open::Spec) => Open::Error(index),
        ("locks", Open::Spec) => Open::Lock(index),
        ("signals", Open::Spec) => Open::Signal(index),
        ("signal_masks", Open::Spec) => Open::Mask(index),
        ("side_effects", Open::Spec) => Open::Effect(index),
        ("state_transitions", Open::Spec) => Open::Trans(index),
        ("capabilities", Open::Spec) => Open::Cap(index),
        ("constraints", Open::Spec) => Open::Constraint(index),
        ("struct_specs", Open::Spec) => Open::Struct(index),
        ("fields", Open::Struct(of)) => Open::Field(of, index),
        _ => return None,
    })
}

/// `KAPI_ERROR_COUNT` → `error`.
pub(super) fn counted(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("KAPI_")?.strip_suffix("_COUNT")? {
        "PARAM" => "param",
        "ERROR" => "error",
        "LOCK" => "lock",
        "SIGNAL" => "signal",
        "SIGNAL_MASK" => "signal-mask",
        "SIDE_EFFECT" => "side-effect",
        "STATE_TRANS" => "state-trans",
        "CAPABILITY" => "capability",
        "CONSTRAINT" => "constraint",
        "STRUCT_SPEC" | "STRUCT" => "struct",
        _ => return None,
    })
}

/// `.error_count` → `error`.
pub(super) fn counted_field(field: &str) -> Option<&'static str> {
    Some(match field {
        "param_count" => "param",
        "error_count" => "error",
        "lock_count" => "lock",
        "signal_count" => "signal",
        "signal_mask_count" => "signal-mask",
        "side_effect_count" => "side-effect",
        "state_trans_count" => "state-trans",
        "capability_count" => "capability",
        "constraint_count" => "constraint",
        "struct_spec_count" => "struct",
        _ => return None,
    })
}

/// The field that a macro sets.
pub(super) fn field_of_macro(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("KAPI_")? {
        "DESCRIPTION" | "SIGNAL_DESC" | "LOCK_DESC" => "description",
        "LONG_DESC" => "long_description",
        "CONTEXT" => "context_flags",
        "EXAMPLES" => "examples",
        "NOTES" => "notes",
        "SINCE_VERSION" | "SINCE" => "since_version",
        "DEPRECATED" => "deprecated",
        "REPLACEMENT" => "replacement",
        "PARAM_TYPE" | "RETURN_TYPE" => "type",
        "PARAM_FLAGS" | "FIELD_FLAGS" => "flags",
        "PARAM_SIZE" | "FIELD_SIZE" => "size",
        "PARAM_ALIGNMENT" => "alignment",
        "PARAM_RANGE" => "range",
        "PARAM_VALID_MASK" => "valid_mask",
        "PARAM_ENUM_VALUES" => "enum_values",
        "PARAM_CONSTRAINT_TYPE" => "constraint_type",
        "PARAM_CONSTRAINT" => "constraints",
        "PARAM_SIZE_PARAM_IDX" | "PARAM_SIZE_PARAM" => "size_param_idx",
        "PARAM_SIZE_MULTIPLIER" => "size_multiplier",
        "PARAM_VALIDATE" => "validate",
        "RETURN_CHECK_TYPE" => "check_type",
        "RETURN_SUCCESS" => "success_value",
        "RETURN_SUCCESS_RANGE" => "success_range",
        "RETURN_ERROR_VALUES" => "error_values",
        "RETURN_CUSTOM" => "is_success",
        "LOCK_ACQUIRED" => "acquired",
        "LOCK_RELEASED" => "released",
        "LOCK_HELD_ENTRY" => "held_on_entry",
        "LOCK_HELD_EXIT" => "held_on_exit",
        "LOCK_SCOPE" => "scope",
        "SIGNAL_TARGET" => "target",
        "SIGNAL_CONDITION" | "EFFECT_CONDITION" | "STATE_TRANS_COND" => "condition",
        "SIGNAL_RESTARTABLE" => "restartable",
        "SIGNAL_SA_FLAGS_REQ" => "sa_flags_required",
        "SIGNAL_SA_FLAGS_FORBID" => "sa_flags_forbidden",
        "SIGNAL_ERROR" => "error_on_signal",
        "SIGNAL_TRANSFORM" => "transform_to",
        "SIGNAL_TIMING" => "timing",
        "SIGNAL_PRIORITY" | "CAP_PRIORITY" => "priority",
        "SIGNAL_INTERRUPTIBLE" => "interruptible",
        "SIGNAL_QUEUE" => "queue_behavior",
        "SIGNAL_STATE_REQ" => "state_required",
        "SIGNAL_STATE_FORBID" => "state_forbidden",
        "SIGNAL_MASK_ADD" => "mask_add",
        "EFFECT_REVERSIBLE" => "reversible",
        "CAP_ALLOWS" => "allows",
        "CAP_WITHOUT" => "without_cap",
        "CAP_CONDITION" => "check_condition",
        "CAP_ALTERNATIVE" => "alternative",
        "CONSTRAINT_EXPR" => "expression",
        "STRUCT_SIZE" => "struct_size",
        "STRUCT_FIELD_COUNT" => "field_count",
        "FIELD_OFFSET" => "offset",
        "FIELD_CONSTRAINT_RANGE" => "field_range",
        "FIELD_CONSTRAINT_MASK" => "field_mask",
        "FIELD_CONSTRAINT_ENUM" => "field_enum",
        "IOCTL_CMD" => "cmd",
        "IOCTL_CMD_NAME" => "cmd_name",
        "IOCTL_INPUT_SIZE" => "input_size",
        "IOCTL_OUTPUT_SIZE" => "output_size",
        "IOCTL_FILE_OPS" | "IOCTL_FILE_OPS_NAME" => "file_ops_name",
        "PATH" | "SYSFS_PATH" => "sysfs_path",
        "PERMISSIONS" | "SYSFS_PERMISSIONS" => "sysfs_permissions",
        "DEFAULT" | "DEFAULT_VALUE" | "SYSFS_DEFAULT" => "default_value",
        "UNITS" | "SYSFS_UNITS" => "units",
        "STEP" | "SYSFS_STEP" => "step",
        "ALLOWED_STRINGS" | "SYSFS_ALLOWED_STRINGS" => "allowed_strings",
        _ => return None,
    })
}

/// Sets a field of the open item; `false` if it has no such field.
pub(super) fn set(builder: &mut Builder, field: &str, args: &[Arg<'_>]) -> bool {
    let text = || args.first().map(Arg::text).unwrap_or_default();
    let value = || args.first().map(Arg::value);
    let truth = || args.first().is_none_or(Arg::truth);
    let lists = &mut builder.lists;
    match builder.open {
        Open::Spec => return set_spec(builder, field, args),
        Open::Param(n) => {
            if matches!(
                field,
                "sysfs_path"
                    | "sysfs_permissions"
                    | "default_value"
                    | "units"
                    | "step"
                    | "allowed_strings"
            ) {
                return set_spec(builder, field, args);
            }
            let Some(param) = lists.params.get_mut(&n) else {
                return false;
            };
            return set_param(param, field, args);
        }
        Open::Return => {
            let Some(item) = builder.spec.returns.as_mut() else {
                return false;
            };
            match field {
                "type_name" => item.type_name = text(),
                "description" => item.description = text(),
                "type" => item.kind = args.first().map(Arg::word),
                "check_type" => item.check = args.first().map(Arg::word),
                "success_value" => item.success = value(),
                "success_range" => item.success_range = range(args),
                "success_min" => min(&mut item.success_range, args),
                "success_max" => max(&mut item.success_range, args),
                "error_values" => item.error_values = values(args),
                "error_count" => {}
                "is_success" => item.validator = args.first().map(Arg::code),
                _ => return false,
            }
        }
        Open::Error(n) => {
            let Some(item) = lists.errors.get_mut(&n) else {
                return false;
            };
            match field {
                "error_code" => item.code = value(),
                "name" => item.name = text(),
                "summary" => item.summary = text(),
                "condition" => item.summary = text(),
                "description" => item.description = text(),
                _ => return false,
            }
        }
        Open::Lock(n) => {
            let Some(item) = lists.locks.get_mut(&n) else {
                return false;
            };
            match field {
                "lock_name" => item.name = text(),
                "lock_type" => item.kind = args.first().map(Arg::word),
                "acquired" => item.acquired = truth(),
                "released" => item.released = truth(),
                "held_on_entry" => item.held_on_entry = truth(),
                "held_on_exit" => item.held_on_exit = truth(),
                "scope" => return item.set_scope(&args.first().map(Arg::code).unwrap_or_default()),
                "description" => item.description = text(),
                _ => return false,
            }
        }
        Open::Signal(n) => {
            let Some(item) = lists.signals.get_mut(&n) else {
                return false;
            };
            match field {
                // 0 is no signal: the item speaks of a group.
                "signal_num" => item.number = value().filter(|v| v.number != Some(0)),
                "signal_name" => item.name = text(),
                "direction" => item.direction = args.first().map(Arg::flags).unwrap_or_default(),
                "action" => item.action = args.first().map(Arg::word),
                "target" => item.target = text(),
                "condition" => item.condition = text(),
                "description" => item.description = text(),
                "restartable" => item.restartable = truth(),
                "sa_flags_required" => item.sa_flags_required = value(),
                "sa_flags_forbidden" => item.sa_flags_forbidden = value(),
                "error_on_signal" => item.error = value(),
                "transform_to" => item.transform_to = value(),
                "timing" => item.timing = args.first().map(Arg::word),
                "priority" => item.priority = value(),
                "interruptible" => item.interruptible = truth(),
                "queue_behavior" => item.queue = args.first().map(Arg::word),
                "state_required" => item.state_required = value(),
                "state_forbidden" => item.state_forbidden = value(),
                _ => return false,
            }
        }
        Open::Mask(n) => {
            let Some(item) = lists.masks.get_mut(&n) else {
                return false;
            };
            match field {
                "mask_name" => item.name = text(),
                "description" => item.description = text(),
                "mask_add" => item.signals.extend(value()),
                "signals" => item.signals = values(args),
                "signal_count" => {}
                _ => return false,
            }
        }
        Open::Effect(n) => {
            let Some(item) = lists.effects.get_mut(&n) else {
                return false;
            };
            match field {
                "type" => item.effects = args.first().map(Arg::flags).unwrap_or_default(),
                "target" => item.target = text(),
                "description" => item.description = text(),
                "condition" => item.condition = text(),
                "reversible" => item.reversible = truth(),
                _ => return false,
            }
        }
        Open::Trans(n) => {
            let Some(item) = lists.transitions.get_mut(&n) else {
                return false;
            };
            match field {
                "object" => item.object = text(),
                "from_state" => item.from = text(),
                "to_state" => item.to = text(),
                "description" => item.description = text(),
                "condition" => item.condition = text(),
                _ => return false,
            }
        }
        Open::Cap(n) => {
            let Some(item) = lists.capabilities.get_mut(&n) else {
                return false;
            };
            match field {
                "capability" => item.capability = value(),
                "cap_name" => item.name = text(),
                "action" => item.action = args.first().map(Arg::word),
                "allows" => item.allows = text(),
                "without_cap" => item.without = text(),
                "check_condition" => item.condition = text(),
                "priority" => item.priority = value(),
                "alternative" => item.alternatives = values(args.get(..1).unwrap_or_default()),
                "alternative_count" => {}
                _ => return false,
            }
        }
        Open::Constraint(n) => {
            let Some(item) = lists.constraints.get_mut(&n) else {
                return false;
            };
            match field {
                "name" => item.name = text(),
                "description" => item.description = text(),
                "expression" => item.expression = Some(text()).filter(|t| !t.is_empty()),
                _ => return false,
            }
        }
        Open::Struct(n) => {
            let Some(item) = lists.structs.get_mut(&n) else {
                return false;
            };
            match field {
                "name" => item.name = text(),
                "description" => item.description = text(),
                "struct_size" => {
                    item.size = value();
                    item.alignment = args.get(1).map(Arg::value);
                }
                "size" => item.size = value(),
                "alignment" => item.alignment = value(),
                "field_count" => item.field_count = value(),
                _ => return false,
            }
        }
        Open::Field(s, n) => {
            let Some(item) = lists.fields.get_mut(&(s, n)) else {
                return false;
            };
            return set_field(item, field, args);
        }
    }
    true
}

fn set_spec(builder: &mut Builder, field: &str, args: &[Arg<'_>]) -> bool {
    let text = || args.first().map(Arg::text).unwrap_or_default();
    let value = || args.first().map(Arg::value);
    let spec = &mut builder.spec;
    let ioctl_field = matches!(
        field,
        "cmd" | "cmd_name" | "input_size" | "output_size" | "file_ops_name"
    );
    if ioctl_field {
        let ioctl = spec.ioctl.get_or_insert_default();
        spec.kind = SpecKind::Ioctl;
        match field {
            "cmd" => ioctl.command = value(),
            "cmd_name" => ioctl.command_name = text(),
            "input_size" => ioctl.input_size = value(),
            "output_size" => ioctl.output_size = value(),
            _ => ioctl.file_ops = text(),
        }
        return true;
    }
    let sysfs = |spec: &mut crate::ir::Spec, set: &dyn Fn(&mut Sysfs)| {
        set(spec.sysfs.get_or_insert_default())
    };
    match field {
        "name" => spec.name = text(),
        "version" | "api_type" => {}
        "description" => spec.description = text(),
        "long_description" => spec.long_description = text(),
        "context_flags" => spec.contexts = args.first().map(Arg::flags).unwrap_or_default(),
        "examples" => spec.examples = text(),
        "notes" => spec.notes = text(),
        "since_version" => spec.since_version = text(),
        "deprecated" => spec.deprecated = args.first().is_none_or(Arg::truth),
        "replacement" => spec.replacement = text(),
        "sysfs_path" => sysfs(spec, &|s| s.path = text()),
        "sysfs_permissions" => sysfs(spec, &|s| s.permissions = value()),
        "default_value" => sysfs(spec, &|s| s.default = text()),
        "units" => sysfs(spec, &|s| s.units = text()),
        "step" => sysfs(spec, &|s| s.step = value()),
        "allowed_strings" => {
            let all = args
                .first()
                .map(|a| a.list().iter().map(Arg::text).collect())
                .unwrap_or_default();
            spec.sysfs.get_or_insert_default().allowed = all;
        }
        _ => return false,
    }
    true
}

fn set_param(item: &mut Param, field: &str, args: &[Arg<'_>]) -> bool {
    match field {
        "name" => item.name = args.first().map(Arg::text).unwrap_or_default(),
        "type_name" => item.type_name = args.first().map(Arg::text).unwrap_or_default(),
        "description" => item.description = args.first().map(Arg::text).unwrap_or_default(),
        "type" => item.kind = args.first().map(Arg::word),
        "flags" => item.flags = args.first().map(Arg::flags).unwrap_or_default(),
        _ => return set_limits(&mut item.limits, field, args),
    }
    true
}

fn set_field(item: &mut Field, field: &str, args: &[Arg<'_>]) -> bool {
    use crate::ir::vocab::ConstraintKind;
    match field {
        "name" => item.name = args.first().map(Arg::text).unwrap_or_default(),
        "type_name" => item.type_name = args.first().map(Arg::text).unwrap_or_default(),
        "description" => item.description = args.first().map(Arg::text).unwrap_or_default(),
        "type" => item.kind = args.first().map(Arg::word),
        "flags" => item.flags = args.first().map(Arg::flags).unwrap_or_default(),
        "offset" => item.offset = args.first().map(Arg::value),
        "field_range" => {
            item.limits.kind = Some(ConstraintKind::Range);
            item.limits.range = range(args);
        }
        "field_mask" => {
            item.limits.kind = Some(ConstraintKind::Mask);
            item.limits.valid_mask = args.first().map(Arg::value);
        }
        "field_enum" => {
            item.limits.kind = Some(ConstraintKind::Enum);
            item.limits.enum_values = values(args.get(..1).unwrap_or_default());
        }
        _ => return set_limits(&mut item.limits, field, args),
    }
    true
}

fn set_limits(limits: &mut Limits, field: &str, args: &[Arg<'_>]) -> bool {
    let value = || args.first().map(Arg::value);
    match field {
        "constraint_type" => limits.kind = args.first().map(Arg::word),
        "constraints" => limits.text = args.first().map(Arg::text).unwrap_or_default(),
        "size" => limits.size = value(),
        "alignment" => limits.alignment = value(),
        "valid_mask" => limits.valid_mask = value(),
        "enum_values" => limits.enum_values = values(args),
        "enum_count" => {}
        "range" => limits.range = range(args),
        "min_value" => min(&mut limits.range, args),
        "max_value" => max(&mut limits.range, args),
        // −1 is the old series' word for "none".
        "size_param_idx" => limits.size_param = value().filter(|v| v.number != Some(-1)),
        "size_multiplier" => limits.size_multiplier = value(),
        "validate" => limits.validator = args.first().map(Arg::code),
        _ => return false,
    }
    true
}

fn values(args: &[Arg<'_>]) -> Vec<Value> {
    args.iter()
        .flat_map(|arg| {
            arg.list()
                .into_iter()
                .map(|a| a.value())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn range(args: &[Arg<'_>]) -> Option<Range> {
    Some(Range {
        min: args.first()?.value(),
        max: args.get(1)?.value(),
    })
}

fn min(range: &mut Option<Range>, args: &[Arg<'_>]) {
    if let Some(arg) = args.first() {
        let max = range
            .take()
            .map_or_else(|| Value::from_number(0), |r| r.max);
        *range = Some(Range {
            min: arg.value(),
            max,
        });
    }
}

fn max(range: &mut Option<Range>, args: &[Arg<'_>]) {
    if let Some(arg) = args.first() {
        let min = range
            .take()
            .map_or_else(|| Value::from_number(0), |r| r.min);
        *range = Some(Range {
            min,
            max: arg.value(),
        });
    }
}
