//! The arguments of the attribute.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Lit, Meta, Token};

use crate::fault::Fault;
use crate::setting::{Effect, Flavor, SETTINGS, Setting};
use crate::value;

/// The arguments as code.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The path of the crate loopscope.
    pub(crate) library: TokenStream,
    pub(crate) flavor: Flavor,
    /// Calls of the methods of Tokio's builder.
    pub(crate) of_runtime: TokenStream,
    /// Calls of the methods of loopscope's builder.
    pub(crate) of_scope: TokenStream,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            library: quote!(::loopscope),
            flavor: Flavor::MultiThread,
            of_runtime: TokenStream::new(),
            of_scope: TokenStream::new(),
        }
    }
}

impl Arguments {
    /// Reads the arguments. `has_telemetry` says whether loopscope has the
    /// feature `telemetry`.
    pub(crate) fn parse(tokens: TokenStream, has_telemetry: bool) -> Result<Self, Fault> {
        let list = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut given: Vec<Argument> = Vec::new();
        for meta in &list {
            let argument = Argument::new(meta)?;
            if given.iter().any(|other| other.setting.name == argument.setting.name) {
                return Err(argument.fault("is given twice"));
            }
            given.push(argument);
        }
        // The others need the path and the flavor.
        given.sort_by_key(|argument| !matches!(argument.setting.effect, Effect::Flavor | Effect::Library));
        let mut arguments = Self::default();
        for argument in &given {
            arguments.add(argument, has_telemetry)?;
        }
        Ok(arguments)
    }

    fn add(&mut self, argument: &Argument, has_telemetry: bool) -> Result<(), Fault> {
        let literal = argument.literal.as_ref().ok_or_else(|| argument.invalid())?;
        let call = |code: value::Code, library| code(literal, library).ok_or_else(|| argument.invalid());
        match argument.setting.effect {
            Effect::Library => self.library = value::path(literal).ok_or_else(|| argument.invalid())?,
            Effect::Flavor => self.flavor = Flavor::new(literal).ok_or_else(|| argument.invalid())?,
            Effect::Runtime(code) => self.of_runtime.extend(call(code, &self.library)?),
            Effect::MultiThread(code) if self.flavor == Flavor::MultiThread => {
                self.of_runtime.extend(call(code, &self.library)?);
            }
            Effect::OneThread(code) if self.flavor != Flavor::MultiThread => {
                self.of_runtime.extend(call(code, &self.library)?);
            }
            Effect::MultiThread(_) => return Err(argument.fault("needs `flavor = \"multi_thread\"`")),
            Effect::OneThread(_) => {
                return Err(argument.fault("needs `flavor = \"current_thread\"` or `flavor = \"local\"`"));
            }
            Effect::Scope(code) => self.of_scope.extend(call(code, &self.library)?),
            Effect::Telemetry(code) if has_telemetry => {
                self.of_scope.extend(call(code, &self.library)?);
            }
            Effect::Telemetry(_) => {
                return Err(argument.fault("needs the feature `telemetry` of loopscope"));
            }
        }
        Ok(())
    }
}

/// `name = value`.
struct Argument {
    setting: &'static Setting,
    tokens: TokenStream,
    value: TokenStream,
    /// The value, if it is a literal.
    literal: Option<Lit>,
}

impl Argument {
    fn new(meta: &Meta) -> Result<Self, Fault> {
        let name = meta.path().get_ident().map(ToString::to_string);
        let setting = SETTINGS.iter().find(|setting| name.as_deref() == Some(setting.name));
        let Some(setting) = setting else { return Err(unknown(meta)) };
        let Meta::NameValue(pair) = meta else {
            let text = format!("write `{} = {}`: this argument has a value", setting.name, setting.example);
            return Err(Fault::new(meta, text));
        };
        let literal = match &pair.value {
            Expr::Lit(ExprLit { lit, .. }) => Some(lit.clone()),
            _ => None,
        };
        let (tokens, value) = (pair.to_token_stream(), pair.value.to_token_stream());
        Ok(Self { setting, tokens, value, literal })
    }

    /// Returns a fault of the argument as a whole.
    fn fault(&self, what: &str) -> Fault {
        Fault::new(&self.tokens, format!("`{}` {what}", self.setting.name))
    }

    /// Returns a fault of the value.
    fn invalid(&self) -> Fault {
        let Setting { name, expected, example, .. } = self.setting;
        Fault::new(&self.value, format!("`{name}` must be {expected}, such as `{name} = {example}`"))
    }
}

fn unknown(meta: &Meta) -> Fault {
    let path = meta.path();
    if path.get_ident().is_some_and(|name| Flavor::is_name(&name.to_string())) {
        return Fault::new(meta, format!("write `flavor = \"{}\"`", path.to_token_stream()));
    }
    let names: Vec<_> = SETTINGS.iter().map(|setting| format!("`{}`", setting.name)).collect();
    let text = format!("the argument must be one of {}", names.join(", "));
    Fault::new(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the calls of both builders, or the tokens and the text of the
    /// fault.
    fn parse(arguments: &str) -> Result<[String; 2], [String; 2]> {
        let tokens = arguments.parse().unwrap();
        let unspaced = |tokens: &TokenStream| tokens.to_string().replace(' ', "");
        match Arguments::parse(tokens, true) {
            Ok(arguments) => Ok([unspaced(&arguments.of_runtime), unspaced(&arguments.of_scope)]),
            Err(fault) => Err([fault.tokens.to_string(), fault.text]),
        }
    }

    #[test]
    fn arguments_become_calls_of_the_builders() {
        for (arguments, of_runtime, of_scope) in [
            ("", "", ""),
            ("worker_threads = 4, name = \"api\",", ".worker_threads(4usize).name(\"api\")", ""),
            ("start_paused = true, flavor = \"current_thread\"", ".start_paused(true)", ""),
            (
                "flavor = \"local\", unhandled_panic = \"shutdown_runtime\"",
                ".unhandled_panic(::loopscope::tokio::runtime::UnhandledPanic::ShutdownRuntime)",
                "",
            ),
            (
                "threshold = \"1.5s\", schedule_delay = false",
                "",
                ".blocking_threshold(::core::time::Duration::from_nanos(1500000000u64)).schedule_delay(false)",
            ),
            (
                "signals = \"never\", terminal = \"always\", crate = \"watch\"",
                "",
                ".signals(watch::Signals::Never).terminal(watch::Terminal::Always)",
            ),
            (
                "captures_per_second = 20, max_debug_info_memory = 1_000",
                "",
                ".captures_per_second(20u32).max_debug_info_memory(1000u64)",
            ),
            (
                "recording = \"detect\", attachable = true",
                "",
                ".recording(::loopscope::Recording::Detect).attachable(true)",
            ),
        ] {
            assert_eq!(parse(arguments), Ok([of_runtime, of_scope].map(str::to_owned)), "{arguments}");
        }
    }

    #[test]
    fn an_address_is_checked_as_the_program_is_compiled() {
        let call = ".telemetry(::std::net::SocketAddr::from(([127u8,0u8,0u8,1u8],9464u16)))";
        assert_eq!(parse("telemetry = \"127.0.0.1:9464\"").unwrap()[1], call);
        let call =
            ".telemetry(::std::net::SocketAddr::from(([0u16,0u16,0u16,0u16,0u16,0u16,0u16,1u16],0u16)))";
        assert_eq!(parse("telemetry = \"[::1]:0\"").unwrap()[1], call);
        let text = "`telemetry` must be an address, such as `telemetry = \"127.0.0.1:9464\"`";
        assert_eq!(parse("telemetry = \"9464\"").unwrap_err(), ["\"9464\"", text]);
    }

    #[test]
    fn telemetry_needs_its_feature() {
        let tokens = "telemetry = \"127.0.0.1:9464\"".parse().unwrap();
        let fault = Arguments::parse(tokens, false).unwrap_err();
        assert_eq!(fault.text, "`telemetry` needs the feature `telemetry` of loopscope");
    }

    #[test]
    fn a_fault_is_one_sentence_about_its_tokens() {
        for (arguments, tokens, text) in [
            (
                "flavor = \"threaded\"",
                "\"threaded\"",
                "`flavor` must be `multi_thread`, `current_thread` or `local`, such as `flavor = \"current_thread\"`",
            ),
            (
                "worker_threads = 0",
                "0",
                "`worker_threads` must be a whole number from 1 on, such as `worker_threads = 4`",
            ),
            (
                "worker_threads = \"4\"",
                "\"4\"",
                "`worker_threads` must be a whole number from 1 on, such as `worker_threads = 4`",
            ),
            (
                "worker_threads = THREADS",
                "THREADS",
                "`worker_threads` must be a whole number from 1 on, such as `worker_threads = 4`",
            ),
            (
                "worker_threads = 4, flavor = \"current_thread\"",
                "worker_threads = 4",
                "`worker_threads` needs `flavor = \"multi_thread\"`",
            ),
            (
                "start_paused = true",
                "start_paused = true",
                "`start_paused` needs `flavor = \"current_thread\"` or `flavor = \"local\"`",
            ),
            ("name = \"\"", "\"\"", "`name` must be a string that is not empty, such as `name = \"api\"`"),
            (
                "threshold = \"10\"",
                "\"10\"",
                "`threshold` must be a time from 1ms to 60s, such as `threshold = \"10ms\"`",
            ),
            (
                "threshold = \"10us\"",
                "\"10us\"",
                "`threshold` must be a time from 1ms to 60s, such as `threshold = \"10ms\"`",
            ),
            (
                "threshold = \"61s\"",
                "\"61s\"",
                "`threshold` must be a time from 1ms to 60s, such as `threshold = \"10ms\"`",
            ),
            (
                "recording = \"off\"",
                "\"off\"",
                "`recording` must be `full` or `detect`, such as `recording = \"detect\"`",
            ),
            (
                "crate = \"a b\"",
                "\"a b\"",
                "`crate` must be the path of the crate loopscope, such as `crate = \"watch\"`",
            ),
            ("name = \"a\", name = \"b\"", "name = \"b\"", "`name` is given twice"),
            ("current_thread", "current_thread", "write `flavor = \"current_thread\"`"),
            ("threshold", "threshold", "write `threshold = \"10ms\"`: this argument has a value"),
            ("threshold(10)", "threshold (10)", "write `threshold = \"10ms\"`: this argument has a value"),
            (
                "treshold = \"10ms\"",
                "treshold",
                "the argument must be one of `flavor`, `worker_threads`, `start_paused`, `unhandled_panic`, `name`, \
                 `crate`, `threshold`, `recording`, `schedule_delay`, `signals`, `captures_per_second`, \
                 `max_debug_info_memory`, `attachable`, `terminal`, `telemetry`",
            ),
        ] {
            assert_eq!(parse(arguments), Err([tokens, text].map(str::to_owned)), "{arguments}");
        }
    }
}
