//! What each field is set to, by the name that it has in C.

use super::args::Arg;
use super::build::{Builder, Open};
use crate::ir::{Field, Limits, Param, Range, SpecKind, Sysfs, Value};

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
                "expression" => item.expression = Some(text()).filter(|t| !t.is_empty()),
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
