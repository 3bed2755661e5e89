//! The known versions of the header, field by field.

/// A version of the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    /// Texts are arrays inside, structures are packed.
    pub(super) inline: bool,
    pub(super) constraints: u64,
    pub(super) locks: u64,
    pub(super) effects: u64,
    pub(super) magics: bool,
    pub(super) scope: bool,
    pub(super) since: bool,
    pub(super) deprecated: bool,
    pub(super) ioctl: bool,
    pub(super) sysfs: bool,
    pub(super) net: bool,
    pub(super) old_constraints: bool,
    pub(super) field_enum: bool,
}

/// The current header: pointers.
pub(super) const POINTERS: Version = Version {
    inline: false,
    constraints: 32,
    locks: 16,
    effects: 32,
    magics: true,
    scope: true,
    since: false,
    deprecated: false,
    ioctl: false,
    sysfs: false,
    net: false,
    old_constraints: false,
    field_enum: true,
};

/// The older headers, with arrays, most likely first.
pub(super) fn inline_versions() -> Vec<Version> {
    let base = Version {
        inline: true,
        constraints: 16,
        locks: 16,
        effects: 16,
        magics: false,
        scope: false,
        since: true,
        deprecated: true,
        ioctl: true,
        sysfs: true,
        net: false,
        old_constraints: true,
        field_enum: false,
    };
    let mut all = Vec::new();
    for (constraints, effects) in [(16, 16), (32, 16), (32, 32)] {
        for (ioctl, sysfs) in [(true, true), (true, false), (false, false)] {
            for net in [false, true] {
                for (magics, scope, deprecated) in [
                    (false, false, true),
                    (true, false, false),
                    (true, true, false),
                ] {
                    for field_enum in [false, true] {
                        let old_constraints = !magics;
                        all.push(Version {
                            constraints,
                            locks: constraints,
                            effects,
                            ioctl,
                            sysfs,
                            net,
                            magics,
                            scope,
                            deprecated,
                            old_constraints,
                            field_enum,
                            ..base
                        });
                    }
                }
            }
        }
    }
    all
}

const NAME: u64 = 128;
const DESC: u64 = 512;

/// The C types that the header uses.
#[derive(Clone, Copy)]
pub(super) enum T {
    Bool,
    U8,
    U16,
    I32,
    U32,
    I64,
    U64,
    Size,
    Ptr,
    /// A text: an array of so many bytes, or a pointer.
    Text(u64),
    I32s(u64),
    Sub(&'static str, u64),
}

pub(super) type Row = (&'static str, T);

/// The fields of a structure in a version, in order.
pub(super) fn rows(name: &str, v: Version) -> Vec<Row> {
    use T::{Bool, I32, I32s, I64, Ptr, Size, Sub, Text, U8, U16, U32, U64};
    let mut rows: Vec<Row> = Vec::new();
    match name {
        "kapi_param_spec" => {
            rows.extend([
                ("name", Text(NAME)),
                ("type_name", Text(NAME)),
                ("type", U32),
                ("flags", U32),
                ("size", Size),
                ("alignment", Size),
            ]);
            rows.extend([
                ("min_value", I64),
                ("max_value", I64),
                ("valid_mask", U64),
                ("enum_values", Ptr),
                ("enum_count", U32),
            ]);
            rows.extend([
                ("constraint_type", U32),
                ("validate", Ptr),
                ("description", Text(DESC)),
                ("constraints", Text(DESC)),
            ]);
            rows.extend([("size_param_idx", I32), ("size_multiplier", Size)]);
            if v.sysfs {
                rows.extend([
                    ("sysfs_path", Text(NAME)),
                    ("sysfs_permissions", U16),
                    ("default_value", Text(NAME)),
                    ("units", Text(32)),
                ]);
                rows.extend([
                    ("step", I64),
                    ("allowed_strings", Ptr),
                    ("allowed_string_count", U32),
                ]);
            }
        }
        "kapi_error_spec" => rows.extend([
            ("error_code", I32),
            ("name", Text(NAME)),
            ("condition", Text(DESC)),
            ("description", Text(DESC)),
        ]),
        "kapi_return_spec" => {
            rows.extend([
                ("type_name", Text(NAME)),
                ("type", U32),
                ("check_type", U32),
                ("success_value", I64),
                ("success_min", I64),
            ]);
            rows.extend([
                ("success_max", I64),
                ("error_values", Ptr),
                ("error_count", U32),
                ("is_success", Ptr),
                ("description", Text(DESC)),
            ]);
        }
        "kapi_lock_spec" => {
            rows.extend([("lock_name", Text(NAME)), ("lock_type", U32)]);
            if v.scope {
                rows.push(("scope", U32));
            } else {
                rows.extend([
                    ("acquired", Bool),
                    ("released", Bool),
                    ("held_on_entry", Bool),
                    ("held_on_exit", Bool),
                ]);
            }
            rows.push(("description", Text(DESC)));
        }
        "kapi_constraint_spec" => rows.extend([
            ("name", Text(NAME)),
            ("description", Text(DESC)),
            ("expression", Text(DESC)),
        ]),
        "kapi_signal_spec" => {
            rows.extend([
                ("signal_num", I32),
                ("signal_name", Text(32)),
                ("direction", U32),
                ("action", U32),
                ("target", Text(DESC)),
            ]);
            rows.extend([
                ("condition", Text(DESC)),
                ("description", Text(DESC)),
                ("restartable", Bool),
                ("sa_flags_required", U32),
            ]);
            rows.extend([
                ("sa_flags_forbidden", U32),
                ("error_on_signal", I32),
                ("transform_to", I32),
                ("timing", Text(32)),
                ("priority", U8),
            ]);
            rows.extend([
                ("interruptible", Bool),
                ("queue_behavior", Text(128)),
                ("state_required", U32),
                ("state_forbidden", U32),
            ]);
        }
        "kapi_signal_mask_spec" => rows.extend([
            ("mask_name", Text(NAME)),
            ("signals", I32s(32)),
            ("signal_count", U32),
            ("description", Text(DESC)),
        ]),
        "kapi_struct_field" => {
            rows.extend([
                ("name", Text(NAME)),
                ("type", U32),
                ("type_name", Text(NAME)),
                ("offset", Size),
                ("size", Size),
                ("flags", U32),
            ]);
            rows.extend([
                ("constraint_type", U32),
                ("min_value", I64),
                ("max_value", I64),
                ("valid_mask", U64),
            ]);
            if v.field_enum {
                rows.push(("enum_values", Text(DESC)));
            }
            rows.push(("description", Text(DESC)));
        }
        "kapi_struct_spec" => {
            rows.extend([
                ("name", Text(NAME)),
                ("size", Size),
                ("alignment", Size),
                ("field_count", U32),
                ("fields", Sub("kapi_struct_field", 16)),
            ]);
            rows.push(("description", Text(DESC)));
        }
        "kapi_capability_spec" => {
            rows.extend([
                ("capability", I32),
                ("cap_name", Text(NAME)),
                ("action", U32),
                ("allows", Text(DESC)),
                ("without_cap", Text(DESC)),
            ]);
            rows.extend([
                ("check_condition", Text(DESC)),
                ("priority", U8),
                ("alternative", I32s(8)),
                ("alternative_count", U32),
            ]);
        }
        "kapi_side_effect" => rows.extend([
            ("type", U32),
            ("target", Text(NAME)),
            ("condition", Text(DESC)),
            ("description", Text(DESC)),
            ("reversible", Bool),
        ]),
        "kapi_state_transition" => {
            rows.extend([
                ("from_state", Text(NAME)),
                ("to_state", Text(NAME)),
                ("condition", Text(DESC)),
                ("object", Text(NAME)),
                ("description", Text(DESC)),
            ]);
        }
        "kapi_socket_state_spec" => rows.extend([
            ("a", I32s(16)),
            ("b", U32),
            ("c", I32s(16)),
            ("d", U32),
            ("e", U32),
            ("f", Text(DESC)),
            ("g", U32),
        ]),
        "kapi_protocol_behavior" => {
            rows.extend([("a", U32), ("b", Text(DESC)), ("c", I64), ("d", Text(DESC))])
        }
        "kapi_buffer_spec" => rows.extend([
            ("a", U32),
            ("b", Size),
            ("c", Size),
            ("d", Size),
            ("e", Text(DESC)),
            ("f", Bool),
            ("g", Text(DESC)),
        ]),
        "kapi_async_spec" => rows.extend([
            ("a", U32),
            ("b", I32),
            ("c", U32),
            ("d", U32),
            ("e", Text(DESC)),
            ("f", Bool),
            ("g", Text(DESC)),
        ]),
        "kapi_addr_family_spec" => {
            rows.extend([
                ("a", I32),
                ("b", Text(32)),
                ("c", Size),
                ("d", Size),
                ("e", Size),
                ("f", Text(DESC)),
                ("g", Bool),
                ("h", Bool),
                ("i", Bool),
            ]);
            rows.extend([("j", Text(DESC)), ("k", U32), ("l", U32)]);
        }
        _ => spec_rows(v, &mut rows),
    }
    rows
}

fn spec_rows(v: Version, rows: &mut Vec<Row>) {
    use T::{Bool, Size, Sub, Text, U32};
    let magic = |rows: &mut Vec<Row>, name| {
        if v.magics {
            rows.push((name, U32));
        }
    };
    rows.push(("name", Text(NAME)));
    if v.sysfs {
        rows.push(("api_type", U32));
    }
    rows.extend([
        ("version", U32),
        ("description", Text(DESC)),
        ("long_description", Text(DESC * 4)),
        ("context_flags", U32),
    ]);
    magic(rows, "param_magic");
    rows.extend([("param_count", U32), ("params", Sub("kapi_param_spec", 16))]);
    magic(rows, "return_magic");
    rows.push(("return_spec", Sub("kapi_return_spec", 0)));
    magic(rows, "error_magic");
    rows.extend([("error_count", U32), ("errors", Sub("kapi_error_spec", 32))]);
    magic(rows, "lock_magic");
    rows.extend([
        ("lock_count", U32),
        ("locks", Sub("kapi_lock_spec", v.locks)),
    ]);
    magic(rows, "constraint_magic");
    rows.extend([
        ("constraint_count", U32),
        ("constraints", Sub("kapi_constraint_spec", v.constraints)),
    ]);
    magic(rows, "info_magic");
    rows.extend([("examples", Text(DESC * 2)), ("notes", Text(DESC * 2))]);
    if v.since {
        rows.push(("since_version", Text(32)));
    }
    if v.deprecated {
        rows.extend([("deprecated", Bool), ("replacement", Text(NAME))]);
    }
    magic(rows, "signal_magic");
    rows.extend([
        ("signal_count", U32),
        ("signals", Sub("kapi_signal_spec", 32)),
    ]);
    magic(rows, "sigmask_magic");
    rows.extend([
        ("signal_mask_count", U32),
        ("signal_masks", Sub("kapi_signal_mask_spec", 32)),
    ]);
    magic(rows, "struct_magic");
    rows.extend([
        ("struct_spec_count", U32),
        ("struct_specs", Sub("kapi_struct_spec", 8)),
    ]);
    magic(rows, "effect_magic");
    rows.extend([
        ("side_effect_count", U32),
        ("side_effects", Sub("kapi_side_effect", v.effects)),
    ]);
    magic(rows, "trans_magic");
    rows.extend([
        ("state_trans_count", U32),
        ("state_transitions", Sub("kapi_state_transition", 8)),
    ]);
    magic(rows, "cap_magic");
    rows.extend([
        ("capability_count", U32),
        ("capabilities", Sub("kapi_capability_spec", 8)),
    ]);
    if v.net {
        rows.extend([
            ("socket_state", Sub("kapi_socket_state_spec", 0)),
            ("protocol_behaviors", Sub("kapi_protocol_behavior", 8)),
            ("protocol_behavior_count", U32),
        ]);
        rows.extend([
            ("buffer_spec", Sub("kapi_buffer_spec", 0)),
            ("async_spec", Sub("kapi_async_spec", 0)),
            ("addr_families", Sub("kapi_addr_family_spec", 8)),
        ]);
        rows.extend([
            ("addr_family_count", U32),
            ("n1", Bool),
            ("n2", Bool),
            ("n3", Bool),
            ("n4", Bool),
            ("n5", Bool),
            ("n6", Bool),
        ]);
        rows.extend([("n7", Text(DESC)), ("n8", Text(DESC)), ("n9", Text(DESC))]);
    }
    if v.ioctl {
        rows.extend([
            ("cmd", U32),
            ("cmd_name", Text(NAME)),
            ("input_size", Size),
            ("output_size", Size),
            ("file_ops_name", Text(NAME)),
        ]);
    }
    if v.sysfs {
        rows.extend([("subsystem", Text(NAME)), ("device_type", Text(NAME))]);
    }
}
