//! The names: what each macro opens, counts or sets, by the name of the designated field.

use super::build::Open;

/// A macro that opens an item.
pub(super) struct Opener {
    pub(super) open: Box<dyn Fn(u64) -> Open>,
    pub(super) indexed: bool,
    /// It needs no `*_END`.
    pub(super) closed: bool,
    /// The fields that its arguments set.
    pub(super) inits: &'static [&'static str],
}

/// `KAPI_IOCTL_PARAM_SIZE` → `KAPI_PARAM_SIZE`: the parameters of an ioctl are parameters.
pub(super) fn of_ioctl(name: &str) -> std::borrow::Cow<'_, str> {
    name.strip_prefix("KAPI_IOCTL_PARAM")
        .map_or_else(|| name.into(), |rest| format!("KAPI_PARAM{rest}").into())
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
    match &*of_ioctl(name) {
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
    Some(match of_ioctl(name).strip_prefix("KAPI_")? {
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
        "CONSTRAINT_EXPR" | "EFFECT_EXPR" => "expression",
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
