//! The code that the attribute writes. It uses the public API only.

use proc_macro2::TokenStream;
use quote::quote;

use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::function::Function;
use crate::setting::Flavor;

/// Returns a function that runs the block of an async function on a watched
/// runtime. After a mistake it is still a function, so that an editor and the
/// compiler understand the rest of the program, and has the error beside it.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function: Function = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Fault::from(error).into_compile_error();
            return quote! { #item #error };
        }
    };
    match function.check().and_then(|()| Arguments::parse(arguments, cfg!(feature = "telemetry"))) {
        Ok(arguments) => program(&function, &arguments),
        Err(fault) => {
            let program = program(&function, &Arguments::default());
            let error = fault.into_compile_error();
            quote! { #program #error }
        }
    }
}

fn program(function: &Function, arguments: &Arguments) -> TokenStream {
    let Arguments { library, flavor, of_runtime, of_scope } = arguments;
    let (builder, run) = match flavor {
        Flavor::MultiThread => (quote!(new_multi_thread), quote!(run)),
        Flavor::CurrentThread => (quote!(new_current_thread), quote!(run)),
        Flavor::Local => (quote!(new_current_thread), quote!(run_local)),
    };
    function.calling(library, |main| {
        quote! {
            #library::Scope::builder() #of_scope .#run(
                #library::tokio::runtime::Builder::#builder().enable_all() #of_runtime,
                #main,
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str, item: &str) -> String {
        expand(arguments.parse().unwrap(), item.parse().unwrap()).to_string().replace(' ', "")
    }

    #[test]
    fn a_renamed_crate_is_used_by_its_name() {
        for item in ["async fn main() {}", "async fn main(scope: &watch::Scope) {}"] {
            let code = expanded("crate = \"crate::watch\", signals = \"never\"", item);
            assert!(code.contains("crate::watch::Scope::builder()"), "{code}");
            assert!(code.contains("crate::watch::tokio::runtime::Builder"), "{code}");
            assert!(!code.contains("loopscope"), "{code}");
        }
    }

    #[test]
    fn a_fault_of_the_function_is_one_sentence() {
        for (item, text) in [
            ("fn main() {}", "the function must be `async fn main`"),
            ("fn serve() {}", "the function must be `async fn serve`"),
            (
                "async fn main(scope: &Scope, more: u8) {}",
                "`main` has one argument at the most, the scope: `scope: &loopscope::Scope`",
            ),
        ] {
            let code = expanded("", item);
            let error = format!("compile_error!{{\"{}\"}}", text.replace(' ', ""));
            assert_eq!(code.matches("compile_error").count(), 1, "{code}");
            assert!(code.contains(&error), "{code}");
            assert!(code.starts_with("fn"), "it is still a function: {code}");
        }
    }

    #[test]
    fn an_item_that_is_no_function_stays_beside_the_error() {
        let code = expanded("", "struct Main;");
        assert!(code.starts_with("structMain;") && code.contains("compile_error"), "{code}");
    }

    #[test]
    fn attributes_and_visibility_stay_at_the_function() {
        let code = expanded("", "#[inline] pub async fn serve(port: u16) { #![allow(unused)] }");
        assert!(code.starts_with("#[inline]#[allow(unused)]pubfnserve(port:u16)"), "{code}");
    }
}
