//! A mistake in the use of the attribute.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;

/// One sentence, and the tokens that it is about.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) tokens: TokenStream,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(tokens: impl ToTokens, text: impl Into<String>) -> Self {
        Self { tokens: tokens.into_token_stream(), text: text.into() }
    }

    /// Returns tokens that make the compiler print the sentence at its place.
    pub(crate) fn into_compile_error(self) -> TokenStream {
        syn::Error::new_spanned(self.tokens, self.text).into_compile_error()
    }
}

impl From<syn::Error> for Fault {
    fn from(error: syn::Error) -> Self {
        // Only its place is used.
        let token = Ident::new("error", error.span());
        Self::new(token, error.to_string())
    }
}
