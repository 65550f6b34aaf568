//! The values of arguments, and the calls that pass them to the builders.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Lit, Path};

/// Returns the call of a builder's method that passes a value, or `None` if the
/// value is invalid. The second parameter is the path of the crate loopscope.
pub(crate) type Code = fn(&Lit, &TokenStream) -> Option<TokenStream>;

/// The limits of `ScopeBuilder::blocking_threshold`.
const MIN_THRESHOLD: Duration = Duration::from_millis(1);
const MAX_THRESHOLD: Duration = Duration::from_secs(60);

pub(crate) fn worker_threads(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let threads = number::<usize>(literal).filter(|threads| *threads > 0)?;
    Some(quote!(.worker_threads(#threads)))
}

pub(crate) fn start_paused(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let is_paused = boolean(literal)?;
    Some(quote!(.start_paused(#is_paused)))
}

pub(crate) fn unhandled_panic(literal: &Lit, library: &TokenStream) -> Option<TokenStream> {
    let variant = choice(literal, &[("ignore", "Ignore"), ("shutdown_runtime", "ShutdownRuntime")])?;
    let variant = format_ident!("{variant}");
    Some(quote!(.unhandled_panic(#library::tokio::runtime::UnhandledPanic::#variant)))
}

pub(crate) fn name(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let name = string(literal).filter(|name| !name.is_empty())?;
    Some(quote!(.name(#name)))
}

pub(crate) fn threshold(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let threshold = duration(&string(literal)?)?;
    let nanos = u64::try_from(threshold.as_nanos()).ok()?;
    let call = quote!(.blocking_threshold(::core::time::Duration::from_nanos(#nanos)));
    (MIN_THRESHOLD..=MAX_THRESHOLD).contains(&threshold).then_some(call)
}

/// The names are those of the environment variable `LOOPSCOPE`.
pub(crate) fn recording(literal: &Lit, library: &TokenStream) -> Option<TokenStream> {
    let variant = choice(literal, &[("full", "Full"), ("detect", "Detect")])?;
    let variant = format_ident!("{variant}");
    Some(quote!(.recording(#library::Recording::#variant)))
}

pub(crate) fn schedule_delay(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let is_recorded = boolean(literal)?;
    Some(quote!(.schedule_delay(#is_recorded)))
}

pub(crate) fn signals(literal: &Lit, library: &TokenStream) -> Option<TokenStream> {
    let variant = choice(literal, &[("never", "Never"), ("safe", "Safe"), ("always", "Always")])?;
    let variant = format_ident!("{variant}");
    Some(quote!(.signals(#library::Signals::#variant)))
}

pub(crate) fn captures_per_second(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let captures = number::<u32>(literal)?;
    Some(quote!(.captures_per_second(#captures)))
}

pub(crate) fn max_debug_info_memory(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let bytes = number::<u64>(literal)?;
    Some(quote!(.max_debug_info_memory(#bytes)))
}

pub(crate) fn attachable(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let is_attachable = boolean(literal)?;
    Some(quote!(.attachable(#is_attachable)))
}

pub(crate) fn terminal(literal: &Lit, library: &TokenStream) -> Option<TokenStream> {
    let variant = choice(literal, &[("auto", "Auto"), ("always", "Always"), ("never", "Never")])?;
    let variant = format_ident!("{variant}");
    Some(quote!(.terminal(#library::Terminal::#variant)))
}

pub(crate) fn telemetry(literal: &Lit, _: &TokenStream) -> Option<TokenStream> {
    let address: SocketAddr = string(literal)?.parse().ok()?;
    let port = address.port();
    let ip = match address {
        SocketAddr::V4(address) => {
            let octets = address.ip().octets();
            quote!([#(#octets),*])
        }
        SocketAddr::V6(address) if address.scope_id() == 0 => {
            let segments = address.ip().segments();
            quote!([#(#segments),*])
        }
        SocketAddr::V6(_) => return None,
    };
    Some(quote!(.telemetry(::std::net::SocketAddr::from((#ip, #port)))))
}

pub(crate) fn path(literal: &Lit) -> Option<TokenStream> {
    let Lit::Str(text) = literal else { return None };
    let path: Path = text.parse().ok()?;
    Some(quote!(#path))
}

/// Returns what one of several strings stands for.
pub(crate) fn choice<T: Copy>(literal: &Lit, choices: &[(&str, T)]) -> Option<T> {
    let text = string(literal)?;
    choices.iter().find(|(choice, _)| *choice == text).map(|(_, meaning)| *meaning)
}

fn string(literal: &Lit) -> Option<String> {
    match literal {
        Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

fn boolean(literal: &Lit) -> Option<bool> {
    match literal {
        Lit::Bool(value) => Some(value.value),
        _ => None,
    }
}

fn number<N: FromStr<Err: std::fmt::Display>>(literal: &Lit) -> Option<N> {
    match literal {
        Lit::Int(number) => number.base10_parse().ok(),
        _ => None,
    }
}

/// Parses a duration as the environment variable `LOOPSCOPE_THRESHOLD` has it.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}
