//! The function that has the attribute.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{AttrStyle, Attribute, FnArg, ReturnType, Signature, Token, Type, Visibility, braced};

use crate::fault::Fault;

/// The statements stay as they are: they may be incomplete while somebody
/// types, and an editor must still see a function.
pub(crate) struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    /// Without `async`.
    signature: Signature,
    async_token: Option<Token![async]>,
    /// The argument of `main`.
    scope: Option<FnArg>,
    /// The block of the function.
    body: TokenStream,
}

impl Function {
    /// Returns what is wrong with the function, if anything is.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.async_token.is_none() {
            let text = format!("the function must be `async fn {}`", self.signature.ident);
            return Err(Fault::new(self.signature.fn_token, text));
        }
        if self.is_main() && !self.signature.inputs.is_empty() {
            let text = "`main` has one argument at the most, the scope: `scope: &loopscope::Scope`";
            return Err(Fault::new(&self.signature.inputs, text));
        }
        Ok(())
    }

    /// Returns the function without `async`. It passes what its block computes,
    /// as a function of the scope, to `call`.
    pub(crate) fn calling(
        &self,
        library: &TokenStream,
        call: impl FnOnce(TokenStream) -> TokenStream,
    ) -> TokenStream {
        let Self { attributes, visibility, signature, scope, body, .. } = self;
        let async_token = self.async_token.unwrap_or_default();
        let result = self.result_type();
        let statements = match scope {
            Some(scope) => {
                let result = result.map(|result| quote!(-> #result));
                call(quote!(#async_token |#scope| #result #body))
            }
            None => {
                // The compiler then says at the right statement that its type
                // is wrong: a block has no result type of its own.
                let typed_return = result.map(|result| {
                    let span = Span::call_site().located_at(result.span());
                    quote_spanned! {span=>
                        #[allow(unreachable_code, clippy::all, clippy::pedantic, clippy::restriction)]
                        if false {
                            let result: #result = loop {};
                            return result;
                        }
                    }
                });
                let run = call(quote!(|_: &#library::Scope| main));
                quote! {
                    let main = #async_token { #typed_return #body };
                    #run
                }
            }
        };
        quote! { #(#attributes)* #visibility #signature { #statements } }
    }

    /// Returns the type of the result. `None` if no code but the signature can
    /// name it.
    fn result_type(&self) -> Option<TokenStream> {
        match &self.signature.output {
            ReturnType::Default => Some(quote!(())),
            ReturnType::Type(_, result) => {
                let tokens = result.to_token_stream();
                (!matches!(**result, Type::Never(_)) && !has_impl(tokens.clone())).then_some(tokens)
            }
        }
    }

    fn is_main(&self) -> bool {
        self.signature.ident == "main"
    }
}

/// Returns whether a type has `impl Trait` in it.
fn has_impl(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_impl(group.stream()),
        TokenTree::Ident(ident) => ident == "impl",
        _ => false,
    })
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let mut signature: Signature = input.parse()?;
        let content;
        let brace = braced!(content in input);
        // Not allowed in an async block.
        attributes.extend(content.call(Attribute::parse_inner)?.into_iter().map(|mut attribute| {
            attribute.style = AttrStyle::Outer;
            attribute
        }));
        let statements: TokenStream = content.parse()?;
        let mut body = TokenStream::new();
        brace.surround(&mut body, |body| statements.to_tokens(body));
        let async_token = signature.asyncness.take();
        let takes_scope = signature.ident == "main" && signature.inputs.len() == 1;
        let scope = if takes_scope { signature.inputs.pop() } else { None };
        Ok(Self { attributes, visibility, signature, async_token, scope, body })
    }
}
