//! What the arguments of the attribute set.

use syn::Lit;

use crate::value::{self, Code};

/// An argument: its name, which values are valid, one of them, and its effect.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
    pub(crate) example: &'static str,
    pub(crate) effect: Effect,
}

/// What an argument changes. The code is a call of a method of a builder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    Flavor,
    /// The path of the crate loopscope.
    Library,
    Runtime(Code),
    /// Of a runtime with this flavor only.
    MultiThread(Code),
    /// Of a runtime with another flavor.
    OneThread(Code),
    Scope(Code),
    /// Of a scope that has the feature `telemetry`.
    Telemetry(Code),
}

pub(crate) static SETTINGS: [Setting; 15] = [
    setting("flavor", "`multi_thread`, `current_thread` or `local`", "\"current_thread\"", Effect::Flavor),
    setting("worker_threads", "a whole number from 1 on", "4", Effect::MultiThread(value::worker_threads)),
    setting("start_paused", "`true` or `false`", "true", Effect::OneThread(value::start_paused)),
    setting(
        "unhandled_panic",
        "`ignore` or `shutdown_runtime`",
        "\"shutdown_runtime\"",
        Effect::OneThread(value::unhandled_panic),
    ),
    setting("name", "a string that is not empty", "\"api\"", Effect::Runtime(value::name)),
    setting("crate", "the path of the crate loopscope", "\"watch\"", Effect::Library),
    setting("threshold", "a time from 1ms to 60s", "\"10ms\"", Effect::Scope(value::threshold)),
    setting("recording", "`full` or `detect`", "\"detect\"", Effect::Scope(value::recording)),
    setting("schedule_delay", "`true` or `false`", "false", Effect::Scope(value::schedule_delay)),
    setting("signals", "`never`, `safe` or `always`", "\"never\"", Effect::Scope(value::signals)),
    setting("captures_per_second", "a whole number", "10", Effect::Scope(value::captures_per_second)),
    setting(
        "max_debug_info_memory",
        "a number of bytes",
        "67_108_864",
        Effect::Scope(value::max_debug_info_memory),
    ),
    setting("attachable", "`true` or `false`", "true", Effect::Scope(value::attachable)),
    setting("terminal", "`auto`, `always` or `never`", "\"never\"", Effect::Scope(value::terminal)),
    setting("telemetry", "an address", "\"127.0.0.1:9464\"", Effect::Telemetry(value::telemetry)),
];

const fn setting(
    name: &'static str,
    expected: &'static str,
    example: &'static str,
    effect: Effect,
) -> Setting {
    Setting { name, expected, example, effect }
}

/// The kind of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    MultiThread,
    CurrentThread,
    Local,
}

impl Flavor {
    const NAMES: [(&str, Self); 3] = [
        ("multi_thread", Self::MultiThread),
        ("current_thread", Self::CurrentThread),
        ("local", Self::Local),
    ];

    pub(crate) fn new(literal: &Lit) -> Option<Self> {
        value::choice(literal, &Self::NAMES)
    }

    pub(crate) fn is_name(name: &str) -> bool {
        Self::NAMES.iter().any(|(flavor, _)| *flavor == name)
    }
}
